// The picture of a product: its photo where the shop has one, else a drawing for its category (pictures.svg).
import { h } from "./dom.js";

const SVG = document.querySelector("svg").namespaceURI;

// The first entry with a word of the category decides, so what is special stands before what is general: baby milk before
// milk, frozen pizza before pizza. Words are in English and Arabic, in lower case; add those of your shop.
const PICTURES = [
  ["baby", /\bbab(y|ies)|infant|diaper|رضّ?ع|أطفال|حفاض/],
  ["pet", /\bpets?\b|\bcats?\b|\bdogs?\b|bird seed|قطط|كلاب|طيور$|حيوانات أليفة/],
  ["frozen", /frozen|frzn|ice cream|\bice\b|مجمد|آيس كريم|مثلج|ثلج/],
  ["eggs", /\beggs?\b|بيض$/],
  ["cheese", /cheese|أجبان|جبن/],
  ["yogurt", /yogh?urt|dessert|زبادي|لبن/],
  ["butter", /butter|margarine|زبدة|سمن|مارجرين/],
  ["milk", /milk|dairy|cream|حليب|ألبان/],
  ["coffee", /coffee|\bteas?\b|cocoa|قهوة|شاي|كاكاو|مقهى/],
  ["wine", /wine|beer|liquor|spirits|نبيذ|بيرة|كحول/],
  ["drink", /drink|juice|water|soda|beverage|مشروب|عصير|عصائر|مياه/],
  ["nuts", /\bnuts?\b|مكسرات/],
  ["snack", /snack|chips|popcorn|cracker|مقرمشات|فشار|رقائق|تسالي|خفيفة/],
  ["candy", /candy|chocolate|حلويات|شوكولات/],
  ["cake", /cake|cookie|pastr|pie\b|sweet goods|كيك|كوكيز|فطائر|بسكويت|معجنات|تورتات/],
  ["cereal", /cereal|breakfast|حبوب فطور|فطور/],
  ["bread", /bread|roll|bun\b|bakery|dough|خبز|مخبوزات|عجائن/],
  ["pasta", /pasta|rice|noodle|grain|flour|معكرونة|أرز|نودلز|دقيق|بقوليات|وجبات جافة/],
  ["fish", /fish|seafood|sushi|أسماك|بحرية|سوشي|تونة/],
  ["chicken", /chicken|poultry|turkey|دجاج|دواجن|ديك/],
  ["meat", /meat|beef|pork|lamb|veal|bacon|sausage|hot dog|لحم|لحوم|سجق|نقانق|لانشون/],
  ["banana", /banana|tropical|موز|استوائية/],
  ["apple", /apple|fruit|berr|grape|citrus|melon|pear|تفاح|فواكه|توت|عنب|حمضيات|بطيخ|كمثرى/],
  ["carrot", /vegetable|salad|onion|tomato|potato|pepper|carrot|corn|mushroom|squash|broccoli|herb|produce|خضار|سلط|بصل|طماطم|بطاطس|فلفل|جزر|ذرة|فطر|كوسا|بروكلي|أعشاب/],
  ["can", /canned|soup|bean|olive|pickle|شوربة|معلب|زيتون|مخلل/],
  ["jar", /sauce|spice|condiment|dressing|jam|honey|sugar|syrup|\boils?\b|بهارات|صلص|توابل|تتبيلات|مربي|سكر|شراب|دبس|زيوت/],
  ["meal", /deli|prepared|restaurant|meal|dinner|sandwich|pizza|أطعمة|شطائر|وجبات|أطباق|جاهز/],
  ["paper", /tissue|towel|paper|napkin|مناديل|ورق|أكياس|أغلفة/],
  ["clean", /clean|laundry|detergent|dish|bleach|household|منظف|غسيل|مبيض|معطرات|مكانس/],
  ["health", /health|vitamin|medicine|pharm|analges|first aid|cold and flu|صيدل|أدوية|فيتامين|مسكنات|إسعافات|صحية|صحة/],
  ["care", /care|cosmetic|make-?up|shampoo|soap|hair|oral|deodor|fragrance|perfume|beauty|عناية|تجميل|صابون|عطور|مكياج|مزيلات|حلاقة|استحمام/],
  ["shoes", /shoe|sneaker|boot|أحذية|حذاء/],
  ["clothes", /cloth|apparel|shirt|dress|hosiery|fashion|ملابس|أزياء|جوارب/],
  ["phone", /phone|mobile|wireless|tablet|هاتف|هواتف|جوال|موبايل|اتصال|مكالمات/],
  ["electronics", /electr|comput|audio|video|camera|batter|watch|كهرب|بطاري|كاميرا|إلكترون|ساعات|صوت/],
  ["book", /book|magazine|newspaper|stationery|school|كتب|مجلات|صحف|قرطاسية/],
  ["toy", /toy|game|ألعاب|دمى/],
  ["flower", /flower|floral|garden|plant|rose|bouquet|زهور|ورد|نبات|حدائق|باقات/],
  ["gift", /gift|card|party|season|christmas|halloween|valentine|هدايا|بطاقات|حفلات|موسم|عيد|هالوين/],
  ["kitchen", /kitchen|cookware|glass|mug|cup|houseware|plastic|مطبخ|أواني|أكواب|منزلية|مفروشات/],
  ["tools", /tool|hardware|automotive|sewing|عدد|أدوات|سيارات|خياطة/],
];
// What each drawing lies on: a hue, so that what belongs together looks alike.
const HUES = {
  baby: 200, pet: 30, frozen: 205, eggs: 40, cheese: 45, yogurt: 330, butter: 48, milk: 210, coffee: 25, wine: 345, drink: 190,
  banana: 50, nuts: 30, snack: 20, candy: 320, cake: 335, cereal: 38, bread: 33, pasta: 42, fish: 195, chicken: 28, meat: 5, apple: 95,
  carrot: 110, can: 15, jar: 12, meal: 24, paper: 215, clean: 180, health: 160, care: 290, shoes: 235, clothes: 255, phone: 220,
  electronics: 225, book: 265, toy: 350, flower: 130, gift: 300, kitchen: 175, tools: 230, basket: 170,
};

export function picture(product) {
  const { photo, category } = product;
  const name = product.picture ?? pictureOf(category);
  const drawing = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `static/shop/pictures.svg#${name}`);
  drawing.append(use);
  drawing.setAttribute("viewBox", "0 0 64 64");
  drawing.setAttribute("aria-hidden", "true");
  const frame = h("span", { class: "picture", "data-picture": name }, drawing);
  frame.style.setProperty("--hue", HUES[name]);
  if (photo) frame.append(photoOf(photo));
  return frame;
}

function pictureOf(category) {
  const words = (category ?? "").toLowerCase();
  return PICTURES.find(([, pattern]) => pattern.test(words))?.[0] ?? "basket";
}

function photoOf(address) {
  const image = new Image();
  image.alt = "";
  image.loading = "lazy";
  image.addEventListener("error", () => image.remove()); // shows the drawing below it again
  image.src = address;
  return image;
}
