// RUN: seerc opt %s --pass-pipeline='builtin.module(seerc-int8-weights{weights=a,b})' | filecheck %s

// "a" starts from zeros, "b" [outputs, inputs] from a bias and is read by another op too, "c" stays as it is.
// CHECK-DAG: #[[ROWS:.*]] = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-DAG: #[[COLUMN:.*]] = affine_map<(d0, d1) -> (d1)>
// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8x16xf32> {seerc.weight = "a"}, %arg1: tensor<8x16xf32> {seerc.weight = "b"}
// CHECK-SAME: %arg2: tensor<8x8xf32> {seerc.weight = "c"}
// CHECK-SAME: %arg3: tensor<8x16xi8> {seerc.weight = "a.int8.1"}, %arg4: tensor<16xf32> {seerc.weight = "a.scale.1"}
// CHECK-SAME: %arg5: tensor<8x16xi8> {seerc.weight = "b.int8.0"}, %arg6: tensor<8xf32> {seerc.weight = "b.scale.0"}
// CHECK-SAME: %arg7: tensor<4x8xf32>, %arg8: tensor<4x8xf32>)
// CHECK: %[[H:.*]] = linalg.generic {{.*}} ins(%arg7, %arg3 : tensor<4x8xf32>, tensor<8x16xi8>)
// CHECK-NEXT: ^bb0(%[[X:.*]]: f32, %[[Q:.*]]: i8, %[[SUM:.*]]: f32):
// CHECK-NEXT: %[[W:.*]] = arith.sitofp %[[Q]] : i8 to f32
// CHECK-NEXT: %[[P:.*]] = arith.mulf %[[X]], %[[W]] : f32
// CHECK-NEXT: arith.addf %[[SUM]], %[[P]] : f32
// CHECK: linalg.generic {indexing_maps = [#[[ROWS]], #[[COLUMN]], #[[ROWS]]]
// CHECK-SAME: ins(%[[H]], %arg4 : tensor<4x16xf32>, tensor<16xf32>)
// CHECK: %[[F:.*]] = linalg.generic {{.*}} ins(%{{.*}}, %arg5 : tensor<4x16xf32>, tensor<8x16xi8>)
// CHECK: %[[G:.*]] = linalg.generic {{.*}} ins(%[[F]], %arg6, %arg8 : tensor<4x8xf32>, tensor<8xf32>, tensor<4x8xf32>)
// CHECK: linalg.matmul ins(%[[G]], %arg2
// CHECK: return %{{.*}}, %arg1
#x = affine_map<(m, n, k) -> (m, k)>
#w = affine_map<(m, n, k) -> (n, k)>
#y = affine_map<(m, n, k) -> (m, n)>
func.func @main(%a: tensor<8x16xf32> {seerc.weight = "a"}, %b: tensor<8x16xf32> {seerc.weight = "b"},
                %c: tensor<8x8xf32> {seerc.weight = "c"},
                %x: tensor<4x8xf32>, %bias: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<8x16xf32>) {
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty() : tensor<4x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %h = linalg.matmul ins(%x, %a : tensor<4x8xf32>, tensor<8x16xf32>) outs(%f1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %g = linalg.generic {indexing_maps = [#x, #w, #y], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%h, %b : tensor<4x16xf32>, tensor<8x16xf32>) outs(%bias : tensor<4x8xf32>) {
  ^bb0(%p: f32, %q: f32, %s: f32):
    %m = arith.mulf %p, %q : f32
    %t = arith.addf %s, %m : f32
    linalg.yield %t : f32
  } -> tensor<4x8xf32>
  %e2 = tensor.empty() : tensor<4x8xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %z = linalg.matmul ins(%g, %c : tensor<4x8xf32>, tensor<8x8xf32>) outs(%f2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %z, %b : tensor<4x8xf32>, tensor<8x16xf32>
}
