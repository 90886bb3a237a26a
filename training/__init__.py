import selfiegate  # noqa: F401  turns onnxruntime's telemetry off, before onnxruntime is imported
