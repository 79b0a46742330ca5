export fn sum(v: [*]const i32, n: usize) i32 {
    var s: i32 = 0;
    for (0..n) |i| s += v[i];
    return s;
}
test "sum" {}
