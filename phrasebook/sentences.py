"""The phrasebook: parallel everyday sentences that a tiny speech translation model learns.

Every template is filled with every combination of its slot words. Templates share their slots, so
a word is met in many sentences and combinations that were never trained can be translated too;
some of these are held out to measure exactly that. Numbers are digits in both languages, and the
Japanese is polite (です, ます).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from string import Formatter

HELD_OUT_SHARE = 0.11
"""Of the pairs of a template with two slots; 10 to 11 % of all pairs."""

# Slot words were chosen to sound different from each other in both languages.
_DAYS = {
    "Sunday": "日曜日",
    "Monday": "月曜日",
    "Tuesday": "火曜日",
    "Wednesday": "水曜日",
    "Thursday": "木曜日",
    "Friday": "金曜日",
    "Saturday": "土曜日",
}
_OFFICES = {
    "bank": "銀行",
    "library": "図書館",
    "museum": "美術館",
    "supermarket": "スーパー",
    "post office": "郵便局",
}
_PLACES = _OFFICES | {
    "station": "駅",
    "airport": "空港",
    "park": "公園",
    "hotel": "ホテル",
    "hospital": "病院",
    "temple": "お寺",
    "restaurant": "レストラン",
}
_GOODS = {
    "bag": "かばん",
    "umbrella": "傘",
    "camera": "カメラ",
    "watch": "時計",
    "computer": "パソコン",
    "coat": "コート",
}
_SMALL_PRICES = {
    "300 yen": "300円",
    "500 yen": "500円",
    "800 yen": "800円",
    "1,000 yen": "1000円",
}
# English infinitive, gerund, Japanese stem before ます, plain form.
_ACTIVITIES = (
    ("play tennis", "playing tennis", "テニスをし", "テニスをする"),
    ("play the piano", "playing the piano", "ピアノを弾き", "ピアノを弾く"),
    ("read books", "reading books", "本を読み", "本を読む"),
    ("watch movies", "watching movies", "映画を見", "映画を見る"),
    ("listen to music", "listening to music", "音楽を聞き", "音楽を聞く"),
    ("take pictures", "taking pictures", "写真を撮り", "写真を撮る"),
    ("cook", "cooking", "料理をし", "料理をする"),
    ("swim", "swimming", "泳ぎ", "泳ぐ"),
    ("study", "studying", "勉強をし", "勉強をする"),
    ("travel", "traveling", "旅行をし", "旅行をする"),
    ("dance", "dancing", "踊り", "踊る"),
)

_SLOTS: dict[str, dict[str, str]] = {
    "day": _DAYS,
    "since": _DAYS | {"yesterday": "昨日", "this morning": "今朝"},
    "time": {
        "3 o'clock": "3時",
        "6 o'clock": "6時",
        "8 o'clock": "8時",
        "10 o'clock": "10時",
        "2:30": "2時半",
        "4:30": "4時半",
        "7:30": "7時半",
    },
    "duration": {
        "5 minutes": "5分",
        "10 minutes": "10分",
        "20 minutes": "20分",
        "40 minutes": "40分",
        "3 hours": "3時間",
    },
    "number": {"2": "2", "3": "3", "4": "4", "6": "6", "10": "10"},
    "nights": {"2": "2", "3": "3", "5": "5", "10": "10"},
    "times": {"3": "3", "4": "4", "6": "6"},
    "price": _SMALL_PRICES | {"6,000 yen": "6000円", "20,000 yen": "2万円"},
    "small_price": _SMALL_PRICES,
    "office": _OFFICES,
    "place": _PLACES,
    "landmark": _PLACES | {"traffic light": "信号", "bridge": "橋", "next corner": "次の角"},
    "city": {
        "Tokyo": "東京",
        "Osaka": "大阪",
        "Hiroshima": "広島",
        "Sapporo": "札幌",
        "London": "ロンドン",
        "Paris": "パリ",
        "New York": "ニューヨーク",
    },
    "vehicle": {
        "bus": "バス",
        "train": "電車",
        "taxi": "タクシー",
        "car": "車",
        "bicycle": "自転車",
    },
    "side": {"right": "右", "left": "左"},
    "spot": {
        "on the table": "テーブルの上",
        "under the chair": "椅子の下",
        "by the window": "窓のそば",
        "in the car": "車の中",
        "in the kitchen": "台所",
    },
    "food": {
        "fish": "魚",
        "bread": "パン",
        "apples": "りんご",
        "eggs": "卵",
        "chicken": "鶏肉",
        "cake": "ケーキ",
        "curry": "カレー",
        "salad": "サラダ",
        "sushi": "寿司",
        "cheese": "チーズ",
        "vegetables": "野菜",
    },
    "drink": {
        "coffee": "コーヒー",
        "tea": "紅茶",
        "water": "水",
        "milk": "牛乳",
        "beer": "ビール",
        "wine": "ワイン",
        "orange juice": "オレンジジュース",
    },
    "goods": _GOODS,
    "belonging": _GOODS | {"wallet": "財布", "passport": "パスポート", "key": "鍵"},
    "color": {"red": "赤い", "black": "黒い", "green": "緑の", "white": "白い"},
    "quality": {
        "new": "新しい",
        "old": "古い",
        "expensive": "高い",
        "cheap": "安い",
        "heavy": "重い",
        "small": "小さい",
    },
    "loan": {"towel": "タオル", "blanket": "毛布", "pillow": "枕", "hair dryer": "ドライヤー"},
    "device": {
        "air conditioner": "エアコン",
        "TV": "テレビ",
        "shower": "シャワー",
        "refrigerator": "冷蔵庫",
    },
    "person": {
        "my mother": "母",
        "my father": "父",
        "my husband": "夫",
        "my wife": "妻",
        "my daughter": "娘",
        "my friend": "友達",
        "my boss": "上司",
        "my grandmother": "祖母",
        "my cousin": "いとこ",
    },
    "self": {
        "Emma": "エマ",
        "Maria": "マリア",
        "David": "デイビッド",
        "Tanaka": "田中",
        "Suzuki": "鈴木",
    },
    "name": {
        "Emma": "エマさん",
        "Maria": "マリアさん",
        "Alice": "アリスさん",
        "David": "デイビッドさん",
        "Tom": "トムさん",
    },
    "job": {
        "doctor": "医者",
        "teacher": "先生",
        "nurse": "看護師",
        "student": "学生",
        "police officer": "警察官",
        "writer": "作家",
    },
    "language": {
        "English": "英語",
        "Japanese": "日本語",
        "French": "フランス語",
        "Chinese": "中国語",
    },
    "do": {base: stem for base, _, stem, _ in _ACTIVITIES},
    "doing": {gerund: plain for _, gerund, _, plain in _ACTIVITIES},
    "event": {
        "party": "パーティー",
        "concert": "コンサート",
        "wedding": "結婚式",
        "festival": "お祭り",
    },
    "weather": {
        "sunny": "晴れ",
        "rainy": "雨",
        "cloudy": "曇り",
        "hot": "暑い",
        "cold": "寒い",
    },
    "body": {
        "head": "頭",
        "stomach": "お腹",
        "back": "背中",
        "throat": "のど",
        "leg": "足",
        "knee": "膝",
    },
}

# A digit behind a slot's name asks for a second, different word of that slot.
_TEMPLATES = {
    # Greetings and small talk
    "good-morning": ("Good morning.", "おはようございます。"),
    "hello": ("Hello.", "こんにちは。"),
    "good-evening": ("Good evening.", "こんばんは。"),
    "good-night": ("Good night.", "おやすみなさい。"),
    "nice-to-meet": ("Nice to meet you.", "はじめまして。"),
    "how-are-you": ("How are you?", "お元気ですか？"),
    "fine": ("I'm fine, thank you.", "おかげさまで元気です。"),
    "long-time": ("It's been a long time.", "お久しぶりです。"),
    "see-you": ("See you later.", "またあとで。"),
    "thanks": ("Thank you very much.", "どうもありがとうございます。"),
    "welcome": ("You're welcome.", "どういたしまして。"),
    "excuse-me": ("Excuse me.", "すみません。"),
    "sorry": ("I'm sorry.", "ごめんなさい。"),
    "birthday": ("Happy birthday!", "お誕生日おめでとうございます。"),
    "slowly": ("Please speak slowly.", "ゆっくり話してください。"),
    "again": ("Please say that again.", "もう一度言ってください。"),
    "not-understand": ("I don't understand.", "わかりません。"),
    "wait": ("Please wait a moment.", "少々お待ちください。"),
    "my-name": ("My name is {self}.", "私の名前は{self}です。"),
    "from-city": ("I'm from {city}.", "{city}から来ました。"),
    "speak-language": ("Do you speak {language}?", "{language}を話せますか？"),
    "what-in-language": (
        "What is this called in {language}?",
        "これは{language}で何と言いますか？",
    ),
    # Time
    "what-time": ("What time is it now?", "今何時ですか？"),
    "it-is-time": ("It's {time} now.", "今{time}です。"),
    "today-is": ("Today is {day}.", "今日は{day}です。"),
    "free-on": ("Are you free on {day}?", "{day}は時間がありますか？"),
    "let-us-meet": ("Let's meet at {time} on {day}.", "{day}の{time}に会いましょう。"),
    "meet-person-at": ("I will meet {person} at {time}.", "{time}に{person}に会います。"),
    "met-at": ("I met {person} at the {place}.", "{place}で{person}に会いました。"),
    "will-come-at": ("{name} will come at {time}.", "{name}は{time}に来ます。"),
    "come-at": ("Please come to the {place} at {time}.", "{time}に{place}に来てください。"),
    "be-there-by": (
        "I have to be at the {place} by {time}.",
        "{time}までに{place}に着かなければなりません。",
    ),
    "event-on": ("There is a {event} on {day}.", "{day}に{event}があります。"),
    "event-starts": ("The {event} starts at {time}.", "{event}は{time}に始まります。"),
    "event-joy": ("I'm looking forward to the {event}.", "{event}が楽しみです。"),
    "event-with": ("I will go to the {event} with {person}.", "{person}と{event}に行きます。"),
    # Places and directions
    "where-is": ("Where is the {place}?", "{place}はどこですか？"),
    "near-here": ("Is there a {place} near here?", "この近くに{place}はありますか？"),
    "bathroom": ("Where is the bathroom?", "トイレはどこですか？"),
    "lost": ("I'm lost.", "道に迷いました。"),
    "turn": ("Turn {side} at the {landmark}.", "{landmark}を{side}に曲がってください。"),
    "next-to": ("The {place} is next to the {place2}.", "{place}は{place2}の隣です。"),
    "is-near": ("Is the {place} near the {office}?", "{place}は{office}の近くですか？"),
    "opens": ("The {office} opens at {time}.", "{office}は{time}にあきます。"),
    "closes": ("The {office} closes at {time}.", "{office}は{time}に閉まります。"),
    "closed-on": ("The {office} is closed on {day}.", "{office}は{day}が休みです。"),
    "open-on": ("Is the {office} open on {day}?", "{office}は{day}にあいていますか？"),
    "when-open": ("What time does the {office} open?", "{office}は何時にあきますか？"),
    # Travel
    "taxi-to": ("To the {place}, please.", "{place}までお願いします。"),
    "tickets": ("I'd like {number} tickets to {city}.", "{city}までの切符を{number}枚ください。"),
    "bus-leaves": (
        "The bus to the {place} leaves at {time}.",
        "{place}行きのバスは{time}に出ます。",
    ),
    "train-leaves": ("The train to {city} leaves at {time}.", "{city}行きの電車は{time}に出ます。"),
    "go-by": ("I go to the {place} by {vehicle}.", "{vehicle}で{place}に行きます。"),
    "how-long-by": (
        "How long does it take to the {place} by {vehicle}?",
        "{place}まで{vehicle}でどのくらいかかりますか？",
    ),
    "takes-by": ("It takes {duration} by {vehicle}.", "{vehicle}で{duration}かかります。"),
    "walk-takes": (
        "It takes {duration} to walk to the {place}.",
        "{place}まで歩いて{duration}かかります。",
    ),
    "from-to": (
        "How long does it take from {city} to {city2}?",
        "{city}から{city2}までどのくらいかかりますか？",
    ),
    "want-from-to": (
        "I want to go from {city} to {city2}.",
        "{city}から{city2}まで行きたいです。",
    ),
    "city-on": ("I will go to {city} on {day}.", "{day}に{city}に行きます。"),
    "city-with": ("I will go to {city} with {person}.", "{person}と{city}に行きます。"),
    "visited": ("{name} went to {city} yesterday.", "{name}は昨日{city}に行きました。"),
    "went-with": (
        "I went to the {place} with {person} yesterday.",
        "昨日{person}と{place}に行きました。",
    ),
    "good-trip": ("Have a nice trip.", "よいご旅行を。"),
    # Hotel
    "nights": ("I will stay in {city} for {nights} nights.", "{city}に{nights}泊します。"),
    "reserve-night": (
        "I'd like to stay for {nights} nights from {day}.",
        "{day}から{nights}泊したいです。",
    ),
    "borrow": ("Can I borrow a {loan}?", "{loan}を借りられますか？"),
    "broken": ("The {device} in my room is broken.", "部屋の{device}が壊れています。"),
    "check-in": ("Can I check in at {time}?", "{time}にチェックインできますか？"),
    # Food and drink
    "menu": ("Can I see the menu?", "メニューを見せてもらえますか？"),
    "bill": ("Check, please.", "お会計をお願いします。"),
    "delicious": ("It was very delicious.", "とてもおいしかったです。"),
    "hungry": ("I'm hungry.", "お腹がすきました。"),
    "table-for": (
        "I'd like a table for {number} at {time}.",
        "{time}に{number}人で予約したいです。",
    ),
    "order": ("I'd like {food} and {drink}, please.", "{food}と{drink}をお願いします。"),
    "had-lunch": ("I had {food} and {drink} for lunch.", "昼食は{food}と{drink}でした。"),
    "which-drink": (
        "Would you like {drink} or {drink2}?",
        "{drink}と{drink2}、どちらがいいですか？",
    ),
    "like-food": ("Do you like {food}?", "{food}は好きですか？"),
    "allergy": ("I'm allergic to {food}.", "{food}のアレルギーがあります。"),
    "person-likes": ("{person} likes {food}.", "{person}は{food}が好きです。"),
    "like-more": ("I like {food} more than {food2}.", "{food2}より{food}のほうが好きです。"),
    "ate-with": ("I ate {food} with {person}.", "{person}と{food}を食べました。"),
    "not-drink": ("{person} doesn't drink {drink}.", "{person}は{drink}を飲みません。"),
    "drank-with": ("I drank {drink} with {person}.", "{person}と{drink}を飲みました。"),
    "eat-in": ("I want to eat {food} in {city}.", "{city}で{food}が食べたいです。"),
    "every-morning": ("I drink {drink} every morning.", "毎朝{drink}を飲みます。"),
    # Shopping
    "how-much": ("How much is this?", "これはいくらですか？"),
    "by-card": ("Can I pay by card?", "カードで払えますか？"),
    "where-buy": ("Where can I buy a {goods}?", "{goods}はどこで買えますか？"),
    "costs": ("This {goods} is {price}.", "この{goods}は{price}です。"),
    "drink-costs": ("The {drink} is {small_price}.", "{drink}は{small_price}です。"),
    "bought-for": ("I bought a {goods} for {price}.", "{goods}を{price}で買いました。"),
    "colored": ("I'd like a {color} {goods}.", "{color}{goods}が欲しいです。"),
    "quality": ("This {goods} is {quality}.", "この{goods}は{quality}です。"),
    "gave": ("I gave {person} a {goods}.", "{person}に{goods}をあげました。"),
    # Belongings
    "lost-thing": ("I lost my {belonging}.", "{belonging}をなくしました。"),
    "lost-colored": ("I lost my {color} {belonging}.", "{color}{belonging}をなくしました。"),
    "looking-for": (
        "I'm looking for {person}'s {belonging}.",
        "{person}の{belonging}を探しています。",
    ),
    "left-thing": ("I left my {belonging} at the {place}.", "{place}に{belonging}を忘れました。"),
    "whose": ("This is {person}'s {belonging}.", "これは{person}の{belonging}です。"),
    "your-thing": ("Your {belonging} is {spot}.", "あなたの{belonging}は{spot}にあります。"),
    # Family and work
    "family-of": ("There are {number} people in my family.", "うちは{number}人家族です。"),
    "lives-in": ("{person} lives in {city}.", "{person}は{city}に住んでいます。"),
    "is-at": ("{person} is at the {place} now.", "{person}は今{place}にいます。"),
    "works-at": ("{person} works at the {place}.", "{person}は{place}で働いています。"),
    "job-is": ("{name} is a {job}.", "{name}は{job}です。"),
    "can-speak": ("{person} can speak {language}.", "{person}は{language}を話せます。"),
    "speak-with": ("I speak {language} with {person}.", "{person}と{language}で話します。"),
    "work-hours": ("I work from {time} to {time2}.", "{time}から{time2}まで働きます。"),
    "meeting": ("The meeting is at {time} on {day}.", "会議は{day}の{time}からです。"),
    "busy": ("I'm busy on {day}.", "{day}は忙しいです。"),
    "call-person": ("I will call {person} on {day}.", "{day}に{person}に電話します。"),
    # Hobbies
    "hobby": ("My hobby is {doing}.", "私の趣味は{doing}ことです。"),
    "likes-doing": ("{person} likes {doing}.", "{person}は{doing}のが好きです。"),
    "often-with": ("I often {do} with {person}.", "よく{person}と{do}ます。"),
    "want-to-on": ("I want to {do} on {day}.", "{day}に{do}たいです。"),
    "would-like-to": ("Would you like to {do} on {day}?", "{day}に{do}ませんか？"),
    "will-do-on": ("I will {do} on {day}.", "{day}に{do}ます。"),
    "let-us-do": ("Let's {do} at {time}.", "{time}に{do}ましょう。"),
    "lesson": ("I have a {language} lesson on {day}.", "{day}に{language}の授業があります。"),
    # Weather
    "weather-on": ("It will be {weather} on {day}.", "{day}は{weather}でしょう。"),
    "weather-in": ("It's {weather} in {city} today.", "今日の{city}は{weather}です。"),
    # Health and emergency
    "ambulance": ("Please call an ambulance.", "救急車を呼んでください。"),
    "police": ("Please call the police.", "警察を呼んでください。"),
    "fever": ("I have a fever.", "熱があります。"),
    "get-well": ("Get well soon.", "お大事に。"),
    "hurts": ("My {body} hurts.", "{body}が痛いです。"),
    "hurts-since": ("My {body} has hurt since {since}.", "{since}から{body}が痛いです。"),
    "medicine": (
        "Take this medicine {times} times a day.",
        "この薬を1日{times}回飲んでください。",
    ),
}


@dataclass(frozen=True)
class Pair:
    """One sentence in both languages; `template` is the stable name of the pattern behind it."""

    template: str
    en: str
    ja: str
    held_out: bool


def pairs() -> list[Pair]:
    """Return every pair of the phrasebook, always the same ones in the same order."""
    return [pair for name in _TEMPLATES for pair in _fill(name)]


def words() -> list[Pair]:
    """Return every slot word as an utterance of its own: "Wine.", 「ワイン。」.

    Spoken in random lists they cannot be guessed from their neighbours, only heard.
    """
    slots = [table for name, table in _SLOTS.items() if name not in ("do", "self")]
    found = {english: japanese for table in slots for english, japanese in table.items()}
    return [Pair("word", f"{en[0].upper()}{en[1:]}.", f"{ja}。", False) for en, ja in found.items()]


def _fill(name: str) -> Iterator[Pair]:
    english, japanese = _TEMPLATES[name]
    fields = [field for _, field, _, _ in Formatter().parse(english) if field]
    tables = [_SLOTS[field.rstrip("2")] for field in fields]
    rows = [row for row in product(*tables) if len(set(row)) == len(row)]
    held_out = _held_out(name, rows) if len(fields) == 2 else set()
    for row in rows:
        words = [table[word] for table, word in zip(tables, row, strict=True)]
        yield Pair(
            name,
            _polish(english.format(**dict(zip(fields, row, strict=True)))),
            japanese.format(**dict(zip(fields, words, strict=True))),
            row in held_out,
        )


def _held_out(name: str, rows: list[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Choose rows by hash, leaving every word of each slot in at least one training pair."""
    left = Counter(slot for row in rows for slot in enumerate(row))
    chosen: set[tuple[str, ...]] = set()
    for row in sorted(rows, key=lambda row: hashlib.sha256(repr((name, row)).encode()).digest()):
        if len(chosen) >= HELD_OUT_SHARE * len(rows):
            break
        if all(left[slot] > 1 for slot in enumerate(row)):
            chosen.add(row)
            left.subtract(enumerate(row))
    return chosen


def _polish(english: str) -> str:
    """Write "an" before a vowel and begin with a capital letter."""
    english = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", english)
    return english[0].upper() + english[1:]
