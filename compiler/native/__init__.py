"""From an MLIR kernel to native code: lowering, objects, metrics, shared libraries, programs."""
