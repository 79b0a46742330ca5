proc sum*(v: seq[int]): int {.exportc.} =
  for x in v:
    result += x

echo sum(@[1, 2, 3])
