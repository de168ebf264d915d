"""Whether a reading's quality is good: OPC DA codes, OPC UA status codes, true and false, or a word."""

from __future__ import annotations

from typing import Any

from wheeltapper.stream.settings.assembly import AssemblySettings

_WORDS = {"good": True, "ok": True, "valid": True, "true": True, "bad": False, "uncertain": None, "false": False}
_UNCERTAIN_UA = 0x40000000
_BAD_UA = 0x80000000


class QualityCheck:
    """Reads qualities as the settings say."""

    def __init__(self, settings: AssemblySettings) -> None:
        self._takes_uncertain = settings.uncertain == "good"
        codes = settings.quality_codes
        if codes == "auto":
            # 0 is bad as an OPC DA code, and good as an OPC UA status code: the field's name tells.
            codes = "opc-ua" if "status" in settings.quality.lower() else "opc-da"
        self._is_ua = codes == "opc-ua"

    def is_good(self, quality: Any) -> bool:
        """True for a good one. Where a message leaves it out, or has null, it is good: OPC UA does so."""
        if quality is None or quality is True:
            return True
        if isinstance(quality, dict):  # a StatusCode of OPC UA: {"Code": 2147483648, "Symbol": "Bad"}
            code = quality.get("Code", quality.get("code"))
            return self.is_good(quality.get("Symbol", quality.get("symbol")) if code is None else code)
        if isinstance(quality, str):
            text = quality.strip()
            if not text.isdigit():
                return self._judge(_word(text))
            quality = int(text)
        if isinstance(quality, bool) or not isinstance(quality, int | float):
            return False
        return self._judge(self._of_code(int(quality)))

    def _of_code(self, code: int) -> bool | None:
        """None: uncertain."""
        if self._is_ua:
            severity = code & 0xC0000000
            return None if severity == _UNCERTAIN_UA else severity < _UNCERTAIN_UA
        severity = code & 0xC0
        return None if severity == 0x40 else severity == 0xC0

    def _judge(self, good: bool | None) -> bool:
        return self._takes_uncertain if good is None else good


def _word(text: str) -> bool | None:
    """Of 'Good', 'Good, non-specific', 'BadCommunicationError', 'UncertainLastUsableValue'; anything else is bad."""
    lower = text.lower()
    return next((good for word, good in _WORDS.items() if lower.startswith(word)), False)
