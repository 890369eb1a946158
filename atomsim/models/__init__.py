"""Potentials: one protocol, adapters for MACE, CHGNet, pair potentials, ASE and TorchSim."""
