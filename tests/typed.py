# SPDX-License-Identifier: Apache-2.0
"""The checker of the typed run: beartype, for which an int is a float as PEP 484 says."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
