"""Which recipe is better, and how sure: arms, the protocol, statistics, studies, reports."""
