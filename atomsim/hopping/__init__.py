"""Hops of ions in a host: sites, end points, paths, the network and what it amounts to."""
