"""Texts in both languages to try a user's own code on."""

ENGLISH = (
    "The keeper of the lighthouse wrote down the weather every morning and the ships every "
    "evening, number {}, and the book was read by nobody but the keeper."
)
CHINESE = "灯塔的守望者每天早上记下天气，每天晚上记下过往的船只，第{}本，只有他自己会读这些记录。"
