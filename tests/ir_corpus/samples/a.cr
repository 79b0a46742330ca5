def twice(x)
  x + x
end

puts twice(21)
