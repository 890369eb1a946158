"""Campaigns on a cluster: Slurm is the engine, a folder of small files is the memory, nothing stays alive."""
