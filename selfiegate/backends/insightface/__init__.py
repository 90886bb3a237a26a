"""SCRFD detection and ArcFace recognition through insightface and onnxruntime, on CPU or CUDA."""
