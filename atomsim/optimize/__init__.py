"""Optimizers over any ``Batch → Evaluation``, and the driver that keeps a device full."""
