"""The least that a script of one's own would compute: KS for numbers, chi-squared for categories."""

import sys

import pandas as pd
from scipy import stats

reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
drifted = 0
for name in reference.columns:
    a, b = reference[name], current[name]
    if pd.api.types.is_numeric_dtype(a):
        p = stats.ks_2samp(a, b).pvalue
    else:
        counts = pd.concat([a.value_counts(), b.value_counts()], axis=1).fillna(0)
        p = stats.chi2_contingency(counts).pvalue
    drifted += p < 0.05 / len(reference.columns)
print(f"{drifted} columns differ")
