"""Wen 2018 (CC2017) as it is downloaded -> a BIDS data set with derivatives."""
