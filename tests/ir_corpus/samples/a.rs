pub struct P { pub x: i32 }
pub fn add<T: std::ops::Add<Output=T>>(a: T, b: T) -> T { a + b }
pub fn f(v: &[i32]) -> i32 { let mut s = 0; for x in v { s += add(*x, 1); } s }
