import tasks  # noqa: F401  turns Prefect's usage data off, before Prefect is imported
