// RUN: seerc opt %s --pass-pipeline='builtin.module(func.func(seerc-layer-skip{skip=0}))' | filecheck %s

// The first of two FFN is gone; its weight stays an argument.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<8x8xf32> {seerc.weight = "a"}, %arg1: tensor<8x8xf32> {seerc.weight = "b"}
// CHECK-NOT: %arg0
// CHECK: %[[F:.*]] = linalg.matmul ins(%arg2, %arg1
// CHECK: %[[Y:.*]] = linalg.add ins(%arg2, %[[F]]
// CHECK-NOT: linalg
// CHECK: return %[[Y]]
func.func @main(%w1: tensor<8x8xf32> {seerc.weight = "a"}, %w2: tensor<8x8xf32> {seerc.weight = "b"},
                %x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x8xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  %f = linalg.matmul ins(%x, %w1 : tensor<4x8xf32>, tensor<8x8xf32>) outs(%z : tensor<4x8xf32>) -> tensor<4x8xf32>
  %y = linalg.add ins(%x, %f : tensor<4x8xf32>, tensor<4x8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  %g = linalg.matmul ins(%y, %w2 : tensor<4x8xf32>, tensor<8x8xf32>) outs(%z : tensor<4x8xf32>) -> tensor<4x8xf32>
  %r = linalg.add ins(%y, %g : tensor<4x8xf32>, tensor<4x8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %r : tensor<4x8xf32>
}
