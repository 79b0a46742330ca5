// RUN: seerc opt %s --pass-pipeline='builtin.module(seerc-ffn-select{rank=2})' | filecheck %s

// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8x16xf32> {seerc.weight = "a"}, %arg1: tensor<16x8xf32> {seerc.weight = "b"}
// CHECK-SAME: %arg2: tensor<8x2xf32> {seerc.weight = "a.left"}, %arg3: tensor<2x16xf32> {seerc.weight = "a.right"}
// CHECK-SAME: %arg4: tensor<16x2xf32> {seerc.weight = "b.left"}, %arg5: tensor<2x8xf32> {seerc.weight = "b.right"}
// CHECK-SAME: %arg6: tensor<4x8xf32>, %arg7: tensor<1xi1>) -> tensor<4x8xf32>
// CHECK: %[[BIG:.*]] = tensor.extract %arg7
// CHECK: %[[IF:.*]] = scf.if %[[BIG]]
// CHECK: %[[H:.*]] = linalg.matmul ins(%arg6, %arg0
// CHECK: linalg.matmul ins(%[[H]], %arg1
// CHECK: } else {
// CHECK: ins(%arg6, %arg2 : tensor<4x8xf32>, tensor<8x2xf32>)
// CHECK: ins(%{{.*}}, %arg3 : tensor<4x2xf32>, tensor<2x16xf32>)
// CHECK: ins(%{{.*}}, %arg4 : tensor<4x16xf32>, tensor<16x2xf32>)
// CHECK: ins(%{{.*}}, %arg5 : tensor<4x2xf32>, tensor<2x8xf32>)
// CHECK: linalg.add ins(%arg6,
// CHECK: } {seerc.block = "ffn", seerc.block_index = 0 : i64}
// CHECK: return %[[IF]]
func.func @main(%w1: tensor<8x16xf32> {seerc.weight = "a"}, %w2: tensor<16x8xf32> {seerc.weight = "b"},
                %x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty() : tensor<4x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %h = linalg.matmul ins(%x, %w1 : tensor<4x8xf32>, tensor<8x16xf32>) outs(%f1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %e2 = tensor.empty() : tensor<4x8xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %f = linalg.matmul ins(%h, %w2 : tensor<4x16xf32>, tensor<16x8xf32>) outs(%f2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %y = linalg.add ins(%x, %f : tensor<4x8xf32>, tensor<4x8xf32>) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
