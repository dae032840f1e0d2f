"""Files and where they come from: paths, whole writes, locks, checksums, checks of what is foreign, fetching.

Imports nothing of the other rooms, and knows no network and no data set but their addresses.
"""
