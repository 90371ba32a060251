"""How a GPU is shared among pods: the declaration of a group of nodes, what follows from it, workload tiers, and pods held against them.

Pure: takes parsed data. Figures are derived from the hardware profile and the number of replicas, and never typed.
"""
