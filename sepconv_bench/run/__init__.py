"""The main job: a worker process, its supervisor, sweeps, revisions, a fleet."""
