// RUN: seerc opt %s --split-input-file --pass-pipeline='builtin.module(func.func(seerc-strip-asserts{matching="shape"}),canonicalize)' | filecheck %s

// CHECK-LABEL: func.func @both
// CHECK-NOT: "wrong shape"
// CHECK: cf.assert %{{.*}}, "negative index"
// CHECK-NOT: "wrong shape"
func.func @both(%ok: i1) {
  cf.assert %ok, "wrong shape"
  cf.assert %ok, "negative index"
  cf.assert %ok, "wrong shape again"
  return
}

// -----

// CHECK: // -----
// CHECK-LABEL: func.func @nested
// CHECK-NOT: cf.assert
// CHECK: return
func.func @nested(%ok: i1, %n: index) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  scf.for %i = %zero to %n step %one {
    cf.assert %ok, "shape"
  }
  return
}
