"""The few verbs users call. They return records; showing them is somebody else's work."""
