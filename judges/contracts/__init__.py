"""Contracts of judges that users bring, one TOML file each: read one, copy it, change it."""

from pathlib import Path

from judges.contract import Contract, read_contract

CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in map(read_contract, sorted(Path(__file__).parent.glob("*.toml")))
}

THINK_RM = CONTRACTS["think-rm"].style()
THINK_RM_SCALE = CONTRACTS["think-rm-scale"].style()
JUDGELRM = CONTRACTS["judgelrm"].style()
GRAM_R2 = CONTRACTS["gram-r2"].style()
NEMOTRON_SCORES = CONTRACTS["nemotron-scores"].style()
NEMOTRON_RANKING = CONTRACTS["nemotron-ranking"].style()
PROMETHEUS = CONTRACTS["prometheus"].style()
PROMETHEUS_ABSOLUTE = CONTRACTS["prometheus-absolute"].style()
