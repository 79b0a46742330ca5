module a;
int sum(const int[] v) { int s; foreach (x; v) s += x; return s; }
T twice(T)(T x) { return x + x; }
int use(int x) { return twice(x); }
