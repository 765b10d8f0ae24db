"""The words of the synthetic catalogue, written by hand: (Arabic, English) pairs.

A product type is joined with a material, a colour and an audience. Materials and audiences have a preposition, and
colours follow "باللون" (in the colour), so that no Arabic word has to agree with another in gender.
"""

from typing import NamedTuple

Pair = tuple[str, str]


class Department(NamedTuple):
    """A part of the shop: its product types are the shop's categories."""

    name: str
    types: tuple[Pair, ...]
    materials: tuple[Pair, ...]
    audiences: tuple[Pair, ...]


COLOURS: tuple[Pair, ...] = (
    ("الأبيض", "white"), ("الأسود", "black"), ("الأحمر", "red"), ("الأزرق", "blue"), ("الأخضر", "green"),
    ("الأصفر", "yellow"), ("البني", "brown"), ("الرمادي", "grey"), ("الوردي", "pink"), ("البنفسجي", "purple"),
    ("البيج", "beige"), ("الكحلي", "navy"), ("الذهبي", "gold"), ("الفضي", "silver"), ("الفيروزي", "turquoise"),
)  # fmt: skip

# A brand joins one of each; none of them is meant to exist.
BRAND_STARTS = ("Zar", "Quli", "Nemo", "Tavi", "Loru", "Hazu", "Mirba", "Sefo", "Yalu", "Drino", "Koba", "Wexi")
BRAND_ENDS = ("syn", "dora", "vane", "lith", "quen", "zetto", "marq", "nuri", "pelo", "tisk")

VARIANTS = ("S", "M", "L", "XL")

WOMEN_MEN: tuple[Pair, ...] = (("للنساء", "for women"), ("للرجال", "for men"))
FAMILY: tuple[Pair, ...] = (*WOMEN_MEN, ("للأولاد", "for boys"), ("للبنات", "for girls"))
ANYONE: tuple[Pair, ...] = (("للعائلة", "for the family"), ("للمبتدئين", "for beginners"), ("للمحترفين", "for experts"))
PLACES: tuple[Pair, ...] = (("للمنزل", "for the home"), ("للمكتب", "for the office"), ("للسفر", "for travel"))

DEPARTMENTS: tuple[Department, ...] = (
    Department(
        "clothing",
        (
            ("قميص", "shirt"), ("بنطلون", "trousers"), ("عباءة", "abaya"), ("ثوب", "thobe"), ("فستان", "dress"),
            ("سترة", "jacket"), ("معطف", "coat"), ("تنورة", "skirt"), ("بيجاما", "pyjamas"), ("وشاح", "scarf"),
        ),
        (
            ("من القطن", "cotton"), ("من الكتان", "linen"), ("من الصوف", "wool"), ("من الحرير", "silk"),
            ("من الدنيم", "denim"), ("من الفيسكوز", "viscose"), ("من الكشمير", "cashmere"), ("من المخمل", "velvet"),
        ),
        FAMILY,
    ),
    Department(
        "footwear",
        (
            ("حذاء جري", "running shoes"), ("صندل", "sandals"), ("حذاء رسمي", "dress shoes"), ("نعال", "slippers"),
            ("حذاء طويل", "boots"), ("حذاء كعب", "high heels"), ("حذاء مشي", "hiking shoes"), ("خف", "house shoes"),
            ("حذاء كرة", "football boots"), ("قبقاب", "clogs"),
        ),
        (
            ("من الجلد", "leather"), ("من الشمواه", "suede"), ("من القماش", "canvas"), ("من المطاط", "rubber"),
            ("من الشبك", "mesh"), ("من الفلين", "cork"),
        ),
        FAMILY,
    ),
    Department(
        "electronics",
        (
            ("هاتف", "phone"), ("حاسوب محمول", "laptop"), ("سماعات", "headphones"), ("شاشة", "monitor"),
            ("لوحة مفاتيح", "keyboard"), ("فأرة", "mouse"), ("كاميرا", "camera"), ("ساعة ذكية", "smart watch"),
            ("مكبر صوت", "speaker"), ("شاحن", "charger"),
        ),
        (
            ("من الألمنيوم", "aluminium"), ("من البلاستيك", "plastic"), ("من الزجاج", "glass"),
            ("من التيتانيوم", "titanium"), ("من الكربون", "carbon"), ("من الفولاذ", "steel"),
        ),
        (*PLACES, ("للألعاب", "for gaming")),
    ),
    Department(
        "kitchen",
        (
            ("قدر", "pot"), ("مقلاة", "frying pan"), ("سكين", "knife"), ("إبريق شاي", "teapot"), ("دلة", "coffee pot"),
            ("خلاط", "blender"), ("صينية", "tray"), ("طقم أكواب", "cup set"), ("علبة حفظ", "storage box"),
            ("لوح تقطيع", "cutting board"),
        ),
        (
            ("من النحاس", "copper"), ("من الفولاذ", "steel"), ("من الخشب", "wooden"), ("من السيراميك", "ceramic"),
            ("من الزجاج", "glass"), ("من الحديد", "cast iron"), ("من السيليكون", "silicone"),
        ),
        (("للعائلة", "for the family"), ("للضيوف", "for guests"), ("للرحلات", "for picnics")),
    ),
    Department(
        "furniture",
        (
            ("كرسي", "chair"), ("طاولة", "table"), ("أريكة", "sofa"), ("سرير", "bed"), ("خزانة", "wardrobe"),
            ("مكتب", "desk"), ("رف كتب", "bookshelf"), ("مرآة", "mirror"), ("مصباح", "lamp"), ("سجادة", "rug"),
        ),
        (
            ("من الخشب", "wooden"), ("من الخيزران", "bamboo"), ("من المعدن", "metal"), ("من الرخام", "marble"),
            ("من القماش", "fabric"), ("من الجلد", "leather"), ("من الروطان", "rattan"),
        ),
        (("لغرفة النوم", "for the bedroom"), ("للصالة", "for the living room"), ("للحديقة", "for the garden")),
    ),
    Department(
        "beauty",
        (
            ("عطر", "perfume"), ("بخور", "incense"), ("كريم", "cream"), ("شامبو", "shampoo"), ("صابون", "soap"),
            ("كحل", "kohl"), ("أحمر شفاه", "lipstick"), ("زيت شعر", "hair oil"), ("قناع وجه", "face mask"),
            ("مشط", "comb"),
        ),
        (
            ("بالعود", "oud"), ("بالمسك", "musk"), ("بالورد", "rose"), ("بالياسمين", "jasmine"),
            ("بزيت الأرغان", "argan oil"), ("بالصبار", "aloe vera"), ("بالعنبر", "amber"), ("باللافندر", "lavender"),
        ),
        WOMEN_MEN,
    ),
    Department(
        "groceries",
        (
            ("قهوة", "coffee"), ("شاي", "tea"), ("تمر", "dates"), ("عسل", "honey"), ("أرز", "rice"),
            ("بسكويت", "biscuits"), ("شوكولاتة", "chocolate"), ("عصير", "juice"), ("مكسرات", "nuts"),
            ("توابل", "spices"),
        ),
        (
            ("بالهيل", "cardamom"), ("بالزعفران", "saffron"), ("بالقرفة", "cinnamon"), ("بالنعناع", "mint"),
            ("بالفانيليا", "vanilla"), ("بالسمسم", "sesame"), ("بالليمون", "lemon"), ("بالزنجبيل", "ginger"),
        ),
        (("للعائلة", "for the family"), ("للأطفال", "for children"), ("للضيوف", "for guests")),
    ),
    Department(
        "toys",
        (
            ("دمية", "doll"), ("مكعبات", "building blocks"), ("أحجية", "jigsaw puzzle"), ("سيارة لعبة", "toy car"),
            ("قطار لعبة", "toy train"), ("كرة", "ball"), ("طائرة ورقية", "kite"), ("لعبة لوحية", "board game"),
            ("دراجة صغيرة", "tricycle"), ("دب محشو", "teddy bear"),
        ),
        (
            ("من الخشب", "wooden"), ("من البلاستيك", "plastic"), ("من القماش", "fabric"), ("من المطاط", "rubber"),
            ("من الكرتون", "cardboard"), ("من المعدن", "metal"),
        ),
        (("للرضع", "for babies"), ("للأولاد", "for boys"), ("للبنات", "for girls"), ("للعائلة", "for the family")),
    ),
    Department(
        "sports",
        (
            ("دمبل", "dumbbell"), ("حبل قفز", "skipping rope"), ("بساط يوغا", "yoga mat"), ("خيمة", "tent"),
            ("حقيبة ظهر", "backpack"), ("مضرب", "racket"), ("زجاجة ماء", "water bottle"), ("خوذة", "helmet"),
            ("قفازات", "gloves"), ("نظارة سباحة", "swimming goggles"),
        ),
        (
            ("من المطاط", "rubber"), ("من النايلون", "nylon"), ("من الفولاذ", "steel"), ("من الكربون", "carbon"),
            ("من السيليكون", "silicone"), ("من الألمنيوم", "aluminium"),
        ),
        ANYONE,
    ),
    Department(
        "accessories",
        (
            ("حقيبة يد", "handbag"), ("محفظة", "wallet"), ("حزام", "belt"), ("خاتم", "ring"), ("قلادة", "necklace"),
            ("سوار", "bracelet"), ("نظارة شمسية", "sunglasses"), ("ساعة", "watch"), ("قبعة", "hat"),
            ("مسبحة", "misbaha"),
        ),
        (
            ("من الجلد", "leather"), ("من الفضة", "silver"), ("من اللؤلؤ", "pearl"), ("من العقيق", "agate"),
            ("من الكهرمان", "amber"), ("من الخشب", "wooden"), ("من الفولاذ", "steel"),
        ),
        FAMILY,
    ),
    Department(
        "stationery",
        (
            ("دفتر", "notebook"), ("قلم", "pen"), ("مقلمة", "pencil case"), ("حقيبة مدرسية", "school bag"),
            ("تقويم", "calendar"), ("ملف", "folder"), ("مسطرة", "ruler"), ("ألوان مائية", "watercolours"),
            ("مقص", "scissors"), ("ورق تغليف", "gift wrap"),
        ),
        (
            ("من الورق المعاد", "recycled paper"), ("من الجلد", "leather"), ("من البلاستيك", "plastic"),
            ("من الخشب", "wooden"), ("من المعدن", "metal"), ("من القماش", "fabric"),
        ),
        (("للطلاب", "for students"), ("للمكتب", "for the office"), ("للأطفال", "for children")),
    ),
    Department(
        "baby and home care",
        (
            ("حفاضات", "nappies"), ("رضاعة", "feeding bottle"), ("عربة أطفال", "pushchair"), ("بطانية", "blanket"),
            ("منشفة", "towel"), ("مناديل", "wipes"), ("وسادة", "pillow"), ("ستارة", "curtain"), ("مفرش", "bedspread"),
            ("سلة غسيل", "laundry basket"),
        ),
        (
            ("من القطن", "cotton"), ("من الخيزران", "bamboo"), ("من الصوف", "wool"), ("من الألياف", "microfibre"),
            ("من الكتان", "linen"), ("من السيليكون", "silicone"),
        ),
        (("للرضع", "for babies"), ("للأطفال", "for children"), ("للمنزل", "for the home")),
    ),
)  # fmt: skip
