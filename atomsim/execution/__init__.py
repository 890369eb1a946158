"""Execution: a job's tasks in this process, in a pool, on several GPUs; checkpoints."""
