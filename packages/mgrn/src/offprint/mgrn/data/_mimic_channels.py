"""The 17 channels of the MIMIC-III benchmark: their categories, and the value that counts as normal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Channel:
    """One clinical variable."""

    name: str
    normal: str
    """Stands in before the first measurement."""
    categories: tuple[str, ...] = ()
    """Of a one-hot channel, in the benchmark's order; empty for a number."""

    @property
    def width(self) -> int:
        """Features of its value, without the mask."""
        return len(self.categories) or 1

    def encode(self, cell: str) -> list[float]:
        """The value as `width` numbers.

        Raises:
            ValueError: no number, or no category; a category that is a number may be written in any way (15, 15.0).
        """
        if not self.categories:
            return [float(cell)]
        at = self.categories.index(cell) if cell in self.categories else self._numeric().index(float(cell))
        return [float(at == category) for category in range(self.width)]

    def _numeric(self) -> list[float]:
        return [float(category) for category in self.categories]


CHANNELS = (
    Channel("Capillary refill rate", "0.0", ("0.0", "1.0")),
    Channel("Diastolic blood pressure", "59.0"),
    Channel("Fraction inspired oxygen", "0.21"),
    Channel(
        "Glascow coma scale eye opening",
        "4 Spontaneously",
        (
            "To Pain", "3 To speech", "1 No Response", "4 Spontaneously", "None", "To Speech", "Spontaneously",
            "2 To pain",
        ),
    ),
    Channel(
        "Glascow coma scale motor response",
        "6 Obeys Commands",
        (
            "1 No Response", "3 Abnorm flexion", "Abnormal extension", "No response", "4 Flex-withdraws",
            "Localizes Pain", "Flex-withdraws", "Obeys Commands", "Abnormal Flexion", "6 Obeys Commands",
            "5 Localizes Pain", "2 Abnorm extensn",
        ),
    ),
    Channel(
        "Glascow coma scale total", "15", ("11", "10", "13", "12", "15", "14", "3", "5", "4", "7", "6", "9", "8")
    ),
    Channel(
        "Glascow coma scale verbal response",
        "5 Oriented",
        (
            "1 No Response", "No Response", "Confused", "Inappropriate Words", "Oriented", "No Response-ETT",
            "5 Oriented", "Incomprehensible sounds", "1.0 ET/Trach", "4 Confused", "2 Incomp sounds",
            "3 Inapprop words",
        ),
    ),
    Channel("Glucose", "128.0"),
    Channel("Heart Rate", "86"),
    Channel("Height", "170.0"),
    Channel("Mean blood pressure", "77.0"),
    Channel("Oxygen saturation", "98.0"),
    Channel("Respiratory rate", "19"),
    Channel("Systolic blood pressure", "118.0"),
    Channel("Temperature", "36.6"),
    Channel("Weight", "81.0"),
    Channel("pH", "7.4"),
)  # fmt: skip
"""In alphabetical order, which is that of the groups. "Glascow" is how the benchmark's files have it."""
