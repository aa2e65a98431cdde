"""Personal data: what is somebody's is found, to the character; what is nobody's stays."""

import pytest
from curate_texts import CHINESE, ENGLISH, redacted
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.curate.records.edits import EDIT, KINDS
from tongwen.curate.rules.personal import is_bank_card, personal_edits

GITHUB = "ghp_" + "aB3dE5fG7h" * 4
AMAZON = "AKIA" + "Q4RTZ7PLM2XW9CVB"
OPENAI = "sk-proj-" + "T3BlbkFJq8ZxWn2Lk9Vd" + "Rm5Ye7Us"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJrZWVwZXIifQ.2TogGhhr11_vLEjqKko1HJHU"
BLOCK = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow+/9" * 12 + "\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Write to li.north+maps@cape.example.org.", "email", ["li.north+maps@cape.example.org"]),
        ("邮箱：shouta@haijiao.example.cn，欢迎来信", "email", ["shouta@haijiao.example.cn"]),
        ("logged in from 81.2.69.142 today", "ip_address", ["81.2.69.142"]),
        ("服务器地址 121.40.33.7:8080", "ip_address", ["121.40.33.7"]),
        ("the host 2a02:6b8::2:242 answered", "ip_address", ["2a02:6b8::2:242"]),
        ("电话 138 1234 5678、+8613912345678", "phone", ["138 1234 5678", "+8613912345678"]),
        ("手机号13812345678。", "phone", ["13812345678"]),
        ("总机 010-65529988，或 (0755)86013388-8008", "phone",
         ["010-65529988", "(0755)86013388-8008"]),
        ("座机：0571 8765 4321", "phone", ["0571 8765 4321"]),
        ("电话：65529988", "phone", ["65529988"]),
        ("联系电话01065529988（王先生）", "phone", ["01065529988"]),
        ("電話：(02) 2345-6789 分機 12", "phone", ["(02) 2345-6789"]),
        ("手機 0912-345-678、0922345678", "phone", ["0912-345-678", "0922345678"]),
        ("台北辦公室 +886 2 2345 6789", "phone", ["+886 2 2345 6789"]),
        ("查詢請電 2345 6789 或 (852) 2345 6789", "phone", ["2345 6789", "(852) 2345 6789"]),
        ("致電9123 4567預約", "phone", ["9123 4567"]),
        ("WhatsApp: +852-9123-4567", "phone", ["+852-9123-4567"]),
        ("Call (415) 555-2671 or 212-736-5000.", "phone", ["(415) 555-2671", "212-736-5000"]),
        ("Phone: 415.736.5000", "phone", ["415.736.5000"]),
        ("Tel 7365000", "phone", ["7365000"]),
        ("ring +1 212 736 5000 ext. 4", "phone", ["+1 212 736 5000"]),
        ("London 020 7946 0958, Manchester (0161) 496 0000", "phone",
         ["020 7946 0958", "(0161) 496 0000"]),
        ("mobile 07400 123456", "phone", ["07400 123456"]),
        ("+44 (0)20 7946 0958", "phone", ["+44 (0)20 7946 0958"]),
        ("Berlin +49 30 901820, Paris +33 1 42 68 53 00", "phone",
         ["+49 30 901820", "+33 1 42 68 53 00"]),
        ("from abroad 0044 20 7946 0958", "phone", ["0044 20 7946 0958"]),
        ("电话１３８１２３４５６７８，座机０１０－６５５２９９８８", "phone",
         ["１３８１２３４５６７８", "０１０－６５５２９９８８"]),
        ("Tel: 415\u2011736\u20115000", "phone", ["415\u2011736\u20115000"]),
        ("身份证１１０１０５１９４９１２３１００２Ｘ", "resident_id", []),
        ("邮箱 li.north＠cape.example.org", "email", ["li.north＠cape.example.org"]),
        ("身份证 11010519491231002X", "resident_id", ["11010519491231002X"]),
        ("卡号 6222 0212 3456 7890 128 工商银行", "bank_card", ["6222 0212 3456 7890 128"]),
        ("卡号 6222 0212 3456 7890 129 工商银行", "bank_card", []),
        ("银行卡号：4539578763621486", "bank_card", ["4539578763621486"]),
        ("pay with 5425-2334-3010-9903 now", "bank_card", ["5425-2334-3010-9903"]),
        ("有事加QQ：1234567890", "contact", ["1234567890"]),
        ("交流QQ群 87654321，进群请备注", "contact", ["87654321"]),
        ("微信号 shouta_1949，请注明来意", "contact", ["shouta_1949"]),
        ("想看地图的加V：maplover88", "contact", ["maplover88"]),
        ("加我微信shouta-maps领资料", "contact", ["shouta-maps"]),
        ("WeChat: keeper_77", "contact", ["keeper_77"]),
        (f"export TOKEN={GITHUB}", "api_key", [GITHUB]),
        (f"密钥是 {AMAZON}。", "api_key", [AMAZON]),
        (f'key = "{OPENAI}"', "api_key", [OPENAI]),
        (f"Bearer {TOKEN}", "api_key", [TOKEN]),
        (f"私钥如下：\n{BLOCK}\n", "api_key", [BLOCK]),
    ],
)  # fmt: skip
def test_what_is_somebodys_is_found(text: str, kind: str, found: list[str]) -> None:
    edits = personal_edits(text, record=7)
    assert edits.dtype == EDIT
    assert [text[edit["start"] : edit["end"]] for edit in edits] == found
    assert {KINDS[edit["kind"]] for edit in edits} <= {kind}
    assert all(edit["record"] == 7 for edit in edits)


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH, CHINESE,
        "On 2013-08-12 13:45:56 and 20130812134556 the ships came in.",
        "二〇一三年，即2013年08月12日13时45分，编号13812345678。",
        "It cost $1,381,234.56 in 1987, ¥13812345678 in all.",
        "doi:10.13812345678/j.cape.2013.08.012 and https://doi.org/10.1000/13812345678",
        "ISBN 978-7-111-12345-6, ISBN 9787111123456, ISSN 1381-2345",
        "Order No. 13812345678 was sent; tracking: 13912345678.",
        "订单号：13812345678，快递单号 13912345678",
        "圆周率是3.14159265358979，编号 110105194912310021，@keeper 说。",
        "Version 10.4.22.18 of the driver, Chrome 91.0.4472.124, section 3.2.1.4",
        "内核版本 45.67.89.100，见第 1.2.3.4 节",
        "localhost is 127.0.0.1; ours are 192.168.1.20, 10.0.0.8, 172.16.5.4 and 203.0.113.9",
        "at 12:30:45, ratio 1:2:3, std::vector::size, 00:1A:2B:3C:4D:5E, fe80::1:2:3",
        "The number 4539578763621486 is a product of primes.",
        "git clone git@github.com:cape/maps.git and logo@2x.png",
        "QQ 2013 正式版发布，QQ用户突破10000万。", "微信：最好的消息应用；微信公众号：海角灯塔",
        "WeChat: Tencent's messenger", "加速器和加工厂的V形槽",
        "use AKIAIOSFODNN7EXAMPLE or sk-xxxxxxxxxxxxxxxxxxxxxxxx as a placeholder",
        "a sk-learn pipeline, ghp_ prefix, eyJ is base64 of a brace",
        "客服热线 400-810-8888，报警 110，服务 95588，12345 热线",
        "ISBN 0-306-40615-2, ISBN-10: 0306406152",
        "ISBN 978-0-13-110362-7 and 7-111-40701-2",
        "ISSN 0028-0836, LCCN 2009-123-4567",
        "at 31.230416, 121.473701 (31°13′49″N 121°28′25″E); GPS 0123.456 7890.123",
        "坐标 22.5431 114.0579，海拔 0755 米",
        "order number 415-555-2671, part 020-7946-0958",
        "Ref: 02-2345-6789; SKU 0912-345-678; model 010-65529988",
        "订单 0912345678，编号：010-65529988，型号 0755-86013388",
        "md5 0912345678abcdef0912345678abcdef, sha256 02-23456789ab",
        "uuid 12345678-0912-4567-8901-0123456789ab",
        "2013-08-12, 08-12-2013, 12/08/2013, 20130812, 2013.08.12 07:15:32, 0812-2013",
        "1385870400, 1385870400000, 2013-08-12T07:15:32.114+08:00, +08:00",
        "ip 10.0.0.138, mask 255.255.255.0, port 65529988",
        "pi = 3.1415926535, 2^64 = 18446744073709551616",
        "(x+1) (415) * 555 - 2671 = 0.0123 4567",
        "x = +12345678901, y=-4155552671",
        "call 20131208 and dial in on 19991231",
        "1 234 567 8901 and 12 345 678 90 people",
        "02 2345 6789 1234 5679 9012, 415 736 5000 21 22",
        "销量 2345 6789 台，2345-6789 页，8765 4321 万元",
        "pp. 2345-6789, vol. 65529988, §415-736",
        "v0.21.34567, 1.0755.86013388, build 020 7946 0958",
        "RFC 2119, GB/T 7714-2015, ISO 8601-1:2019, EN 60950",
        "score 415-736 5000, odds 0212-345",
        "PMID: 23456789, arXiv 2301.12345678, doi 10.1038/415 736 5000",
        "sha1 13812345678abcdef0123456789abcdef0123456 and A13812345678",
    ],
)  # fmt: skip
def test_what_is_nobodys_stays(text: str) -> None:
    assert redacted(text)[0] == text


def test_in_code_only_addresses_and_keys_are_looked_for() -> None:
    text = f"PHONE = '13812345678'  # li@cape.example.org\nKEY = '{GITHUB}'\nHOST = '81.2.69.142'"
    kinds = [KINDS[edit["kind"]] for edit in personal_edits(text, is_code=True)]
    assert kinds == ["email", "api_key"]
    assert redacted(text, is_code=True)[1] == {"email": 1, "api_key": 1}


def test_check_digits_and_issuers_decide_whether_a_number_is_a_cards() -> None:
    assert is_bank_card("4539578763621486")  # numbers of this kind are made for tests
    assert is_bank_card("371449635398431")
    assert not is_bank_card("4539578763621487")
    assert not is_bank_card("9539578763621486")
    assert not is_bank_card("0000000000000000")


@settings(deadline=None)
@given(st.text(alphabet="1389.-:@ aZ_Q微信加V号/\n", max_size=120))
def test_edits_are_in_order_and_none_lies_over_another(text: str) -> None:
    edits = personal_edits(text)
    assert all(edits["start"] < edits["end"])
    assert all(edits["end"][:-1] <= edits["start"][1:])
    assert len(edits) == sum(redacted(text)[1].values())
