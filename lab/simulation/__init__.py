"""Simulated GPU hardware: stand-ins for NVIDIA's driver libraries and tools, and the profiles they show."""
