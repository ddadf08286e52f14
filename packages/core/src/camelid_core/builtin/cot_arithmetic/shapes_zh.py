"""Chinese wordings of the problem shapes.

Knows words. Knows nothing of how an answer is computed, nor which numbers are allowed.
"""

from __future__ import annotations

from .wording import Language, Wording

CHINESE = Language(
    names=("小明", "小红", "小华", "小丽", "小强", "小美"),
    answer="答案是{result}。",
    wordings={
        "buying": Wording(
            "{who}有 {m} 元，买了 {n} 个{thing}，每个 {p} 元。还剩多少元？",
            "共花 {s1} 元。还剩 {s2} 元。",
            ("杯子", "本子", "球", "玩具"),
        ),
        "sharing": Wording(
            "{who}有 {a} 个{thing}，又得到 {b} 个，平均分给 {k} 人。每人几个？",
            "共有 {s1} 个。每人 {s2} 个。",
            ("苹果", "橘子", "球", "饼"),
        ),
        "travel": Wording(
            "{who}{thing} {h} 小时，每小时 {v} 公里，又前进 {d} 公里。一共多少公里？",
            "先行 {s1} 公里。一共 {s2} 公里。",
            ("步行", "跑步", "骑车", "划船"),
        ),
        "saving": Wording(
            "一个{thing} {goal} 元。{who}有 {m} 元，每周存 {w} 元。几周后能买？",
            "还差 {s1} 元。要 {s2} 周。",
            ("书包", "足球", "台灯", "风筝"),
        ),
        "packing": Wording(
            "{who}把 {n} 袋{thing}平均放进 {k} 个盒子，每袋 {e} 个。每盒几个？",
            "共有 {s1} 个。每盒 {s2} 个。",
            ("球", "鸡蛋", "贝壳", "珠子"),
        ),
        "ages": Wording(
            "{who} {a} 岁，{other}的年龄是{who}的 {k} 倍。{y} 年后{other}几岁？",
            "今年 {s1} 岁。以后 {s2} 岁。",
            ("",),
        ),
        "discount": Wording(
            "{who}有 {m} 元。一个{thing} {p} 元，今天便宜 {off} 元，买 {n} 个。还剩多少元？",
            "每个 {s1}。共花 {s2}。还剩 {s3}。",
            ("杯子", "本子", "球", "面包"),
        ),
        "harvest": Wording(
            "{who}摘了 {a} 筐{thing}，每筐 {b} 个，和 {c} 箱，每箱 {d} 个。一共几个？",
            "筐里 {s1}。箱里 {s2}。一共 {s3}。",
            ("苹果", "梨", "桃子", "柠檬"),
        ),
        "tank": Wording(
            "{thing}里有 {s} 升水，每分钟进 {i} 升，出 {o} 升。{t} 分钟后有多少升？",
            "每分钟 {s1}。共加 {s2}。共有 {s3}。",
            ("水池", "水箱", "水桶", "鱼缸"),
        ),
        "party": Wording(
            "{who}做了 {a} 盘{thing}，每盘 {b} 个，和 {c} 盒，每盒 {d} 个。吃了 {e} 个，还剩几个？",
            "盘里 {s1}。盒里 {s2}。共有 {s3}。还剩 {s4}。",
            ("面包", "饼", "包子", "月饼"),
        ),
        "moving": Wording(
            "{who}有 {a} 层{thing}，每层 {b} 个，又买 {c} 个，卖出 {d} 个，其余平均装 {k} 箱。每箱几个？",
            "架上 {s1}。买后 {s2}。卖后 {s3}。每箱 {s4}。",
            ("本子", "杯子", "玩具", "球"),
        ),
    },
)
