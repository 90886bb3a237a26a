import selfiegate  # noqa: F401  turns onnxruntime's telemetry off, before onnxruntime is imported
import tasks  # noqa: F401  turns Prefect's usage data off, before Prefect is imported
