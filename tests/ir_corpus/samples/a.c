#include <stdio.h>
static int twice(int x) { return 2 * x; }
int sum(const int *v, int n) {
  int s = 0;
  for (int i = 0; i < n; i++) s += twice(v[i]);
  printf("%d %s\n", s, __FILE__);
  return s;
}
