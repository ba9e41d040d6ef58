# SPDX-License-Identifier: Apache-2.0
"""Rendering: rows as tables, pages and plots; nothing is computed here."""
