// RUN: seerc opt %s --pass-pipeline='builtin.module(seerc-mixture-of-depths{blocks=0 percent=50})' | filecheck %s

// Two of four tokens: scores, ranks, slots, the rows of the chosen, the FFN on them, and their rows added to the stream.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg2: tensor<8xf32> {seerc.weight = "router.0"}, %arg3: tensor<4x8xf32>) -> tensor<4x8xf32>
// CHECK: %[[SCORES:.*]] = linalg.generic {{.*}} ins(%arg3, %arg2 : tensor<4x8xf32>, tensor<8xf32>)
// CHECK: %[[RANKS:.*]] = linalg.generic {{.*}} ins(%{{.*}}, %{{.*}} : tensor<1x4xf32>, tensor<1x4xf32>)
// CHECK: arith.cmpf ogt
// CHECK: %[[THROUGH:.*]] = linalg.generic {{.*}} ins(%[[RANKS]] : tensor<1x4xi32>)
// CHECK: linalg.generic {{.*}} ins(%[[THROUGH]] : tensor<1x4xi32>) outs(%{{.*}} : tensor<1x2xi32>)
// CHECK: tensor.extract %arg3[%{{.*}}, %{{.*}}] : tensor<4x8xf32>
// CHECK: %[[H:.*]] = linalg.matmul ins(%{{.*}}, %arg0 : tensor<2x8xf32>, tensor<8x16xf32>)
// CHECK: %[[F:.*]] = linalg.matmul ins(%[[H]], %arg1 : tensor<2x16xf32>, tensor<16x8xf32>)
// CHECK: tensor.extract %[[F]][%{{.*}}, %{{.*}}] : tensor<2x8xf32>
// CHECK: %[[ADDED:.*]] = linalg.generic {{.*}} ins(%{{.*}}, %[[SCORES]], %{{.*}} : tensor<4xi32>, tensor<4xf32>
// CHECK: arith.select
// CHECK: linalg.add ins(%arg3, %[[ADDED]]
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
