"""Progressive shrinking: training in which units die, until the network fits a budget.

    units by choice -> factors and prices -> what goes -> a smaller SuperTransformer

Sources: HR-NAS (CVPR 2021), section 3.3, for the search by shrinking; Network Slimming (ICCV 2017)
for the BatchNorm weights as factors.
"""
