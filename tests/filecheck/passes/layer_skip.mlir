// RUN: seerc opt %s --pass-pipeline='builtin.module(seerc-layer-skip)' | filecheck %s

// An FFN whose hidden tensor is a second result of @main.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg2: tensor<4x8xf32>, %arg3: tensor<1xi1>) -> (tensor<4x8xf32>, tensor<4x16xf32>)
// CHECK: %[[N:.*]] = arith.constant 0 : index
// CHECK: %[[RUN:.*]] = tensor.extract %arg3[%[[N]]] : tensor<1xi1>
// CHECK: %[[IF:.*]]:2 = scf.if %[[RUN]] -> (tensor<4x8xf32>, tensor<4x16xf32>) {
// CHECK: %[[H:.*]] = linalg.matmul ins(%arg2, %arg0
// CHECK: linalg.matmul
// CHECK: %[[SUM:.*]] = linalg.add
// CHECK: scf.yield %[[SUM]], %[[H]]
// CHECK: } else {
// CHECK: %[[ZEROS:.*]] = linalg.fill
// CHECK: scf.yield %arg2, %[[ZEROS]]
// CHECK: } {seerc.block = "ffn", seerc.block_index = 0 : i64}
// CHECK-NOT: linalg
// CHECK: return %[[IF]]#0, %[[IF]]#1
func.func @main(%w1: tensor<8x16xf32> {seerc.weight = "a"}, %w2: tensor<16x8xf32> {seerc.weight = "b"},
                %x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x16xf32>) {
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty() : tensor<4x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %h = linalg.matmul ins(%x, %w1 : tensor<4x8xf32>, tensor<8x16xf32>) outs(%f1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %e2 = tensor.empty() : tensor<4x8xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %f = linalg.matmul ins(%h, %w2 : tensor<4x16xf32>, tensor<16x8xf32>) outs(%f2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %y = linalg.add ins(%x, %f : tensor<4x8xf32>, tensor<4x8xf32>) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %y, %h : tensor<4x8xf32>, tensor<4x16xf32>
}
