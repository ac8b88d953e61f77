from __future__ import annotations

import pytest

from danlu.core.errors import InputError
from danlu.data.text_encoding import decode

CHINESE = "文本,标签\n这家酒店的服务很好，早餐也不错,好评\n房间又小又吵，再也不来了,差评\n" * 5
TRADITIONAL = "文本,標籤\n這家飯店的服務很好，早餐也不錯,好評\n房間又小又吵，再也不來了,差評\n" * 5


@pytest.mark.parametrize("text", [CHINESE, TRADITIONAL, "text,label\nplain words,a\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_encoding_is_found(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "t.csv")[0] == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_and_with_few_ascii_characters(encoding: str) -> None:
    text = "内容,类别\n" + ("一个人一条路，一天又一天地走。" * 40 + ",好\n") * 5
    assert decode(text.encode(encoding), "t.csv") == (text, encoding)


@pytest.mark.parametrize("text", [TRADITIONAL, "內容,標籤\n這裡的環境髒亂而且價錢貴得離譜,壞\n", "片名：「臺北的天空」？！\n"])
def test_big5(text: str) -> None:
    assert decode(text.encode("big5"), "t.csv") == (text, "big5")


def test_emoji_of_four_bytes_in_gb18030() -> None:
    text = CHINESE + "真开心😀,好评\n"
    assert decode(text.encode("gb18030"), "t.csv") == (text, "gb18030")


def test_damaged_utf8_is_not_taken_for_chinese() -> None:
    data = bytearray(CHINESE.encode())
    data[40] = 0xFF
    with pytest.raises(InputError) as caught:
        decode(bytes(data), "t.csv")
    assert caught.value.code == "data.undecodable"
    assert caught.value.values["position"] == 38  # where the damaged character begins
    assert caught.value.where == "t.csv:2"


@pytest.mark.parametrize(
    "text",
    [
        "text,label\nun café très bon à Orléans,oui\nça alors,non\n",
        "v1,v2\nham,née Zoë was naïve\nspam,win £900 now\n",
        "v1,v2\nham,it’s “fine” – really…\n",
        "a,b\nGrüße aus Köln und schöne Ferien für dich,ja\nSträuße für größere Räume,nein\nüberhaupt nicht schön,nein\n",
    ],
)
def test_western_text(text: str) -> None:
    assert decode(text.encode("cp1252"), "t.csv") == (text, "windows-1252")


@pytest.mark.parametrize("data", ["текст,метка\nочень хорошо,да\n".encode("cp1251"), b"text,label\n\xe9t\x02\xe9,a\n", bytes(range(1, 256))])
def test_what_no_encoding_fits_is_refused_with_the_place(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        decode(data, "t.csv")
    assert caught.value.code == "data.undecodable"
    assert caught.value.where.startswith("t.csv:")


def test_zero_bytes_are_no_text() -> None:
    with pytest.raises(InputError, match="zero byte at position 5"):
        decode(b"text,\x00label\nsome words here and there,a\n" + b"x,y\n" * 100, "t.csv")


def test_utf16_cut_in_half() -> None:
    with pytest.raises(InputError) as caught:
        decode(CHINESE.encode("utf-16")[:-1], "t.csv")
    assert caught.value.exit_code == 2
