// RUN: seerc opt %s --pass-pipeline='builtin.module(seerc-lazy-select)' | filecheck %s

// The product runs only where the gate is true; the gate is computed always.
// CHECK-LABEL: func.func @main
// CHECK: %[[GATE:.*]] = linalg.generic
// CHECK: arith.cmpf
// CHECK: %[[ON:.*]] = tensor.extract %[[GATE]]
// CHECK: %[[NEW:.*]] = scf.if %[[ON]]
// CHECK: linalg.matmul
// CHECK: } else {
// CHECK: scf.yield %arg1
// CHECK-NOT: arith.select
// CHECK: return %[[NEW]]
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#one = affine_map<(d0) -> (d0)>
func.func @main(%w: tensor<8x8xf32> {seerc.weight = "w"}, %x: tensor<1x8xf32>, %scores: tensor<1xf32>) -> tensor<1x8xf32> {
  %zero = arith.constant 0.0 : f32
  %bits = tensor.empty() : tensor<1xi1>
  %gate = linalg.generic {indexing_maps = [#one, #one], iterator_types = ["parallel"]}
      ins(%scores : tensor<1xf32>) outs(%bits : tensor<1xi1>) {
  ^bb0(%s: f32, %o: i1):
    %on = arith.cmpf ogt, %s, %zero : f32
    linalg.yield %on : i1
  } -> tensor<1xi1>
  %empty = tensor.empty() : tensor<1x8xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<1x8xf32>) -> tensor<1x8xf32>
  %made = linalg.matmul ins(%x, %w : tensor<1x8xf32>, tensor<8x8xf32>) outs(%init : tensor<1x8xf32>) -> tensor<1x8xf32>
  %chosen = linalg.generic {indexing_maps = [#row, #id, #id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%gate, %made, %x : tensor<1xi1>, tensor<1x8xf32>, tensor<1x8xf32>) outs(%empty : tensor<1x8xf32>) {
  ^bb0(%g: i1, %a: f32, %b: f32, %o: f32):
    %r = arith.select %g, %a, %b : f32
    linalg.yield %r : f32
  } -> tensor<1x8xf32>
  return %chosen : tensor<1x8xf32>
}
