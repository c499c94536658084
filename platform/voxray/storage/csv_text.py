"""The grammar of CSV lists, as spreadsheets of any country write them."""

import csv

DELIMITERS = (",", ";", "\t")


def csv_header(content: str) -> tuple[list[str], str]:
    """The names of the columns, and what separates cells; raises csv.Error."""
    header = content.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])], delimiter
