"""What people see: panels, tables, progress, an architecture in words."""

from vitsearch.reports.optuna_study import to_optuna
from vitsearch.reports.terminal.front_table import front_table
from vitsearch.reports.terminal.network_table import NetworkRow, network_table
from vitsearch.reports.terminal.panels import (
    ResultRow,
    architecture_panel,
    end_table,
    facts_panel,
    make_console,
    result_record,
    start_panel,
)
from vitsearch.reports.terminal.search_progress import SearchProgress
from vitsearch.reports.words.architecture import describe_architecture

__all__ = [
    "NetworkRow",
    "ResultRow",
    "SearchProgress",
    "architecture_panel",
    "describe_architecture",
    "end_table",
    "facts_panel",
    "front_table",
    "make_console",
    "network_table",
    "result_record",
    "start_panel",
    "to_optuna",
]
