//! 中文：简单的故事和闲聊。Chinese stories and small talk, simpler than the English ones.

use crate::random::Random;

const NAMES: [&str; 16] = [
    "小明", "小红", "小华", "小丽", "小刚", "小芳", "小雨", "小龙", "小云", "小英", "阿宝", "阿珍", "乐乐",
    "欢欢", "天天", "安安",
];
const ANIMALS: [&str; 14] = [
    "小狗", "小猫", "兔子", "小鸟", "小马", "小熊", "狐狸", "小鸭", "青蛙", "老虎", "猴子", "大象", "乌龟",
    "熊猫",
];
const PLACES: [&str; 10] = ["公园", "学校", "森林", "河边", "山上", "花园", "市场", "海边", "村子", "图书馆"];
const THINGS: [&str; 12] =
    ["皮球", "风筝", "帽子", "书", "钥匙", "苹果", "小船", "画", "灯", "围巾", "铃铛", "盒子"];
const COUNTRIES: [(&str, &str); 14] = [
    ("中国", "北京"),
    ("日本", "东京"),
    ("法国", "巴黎"),
    ("德国", "柏林"),
    ("英国", "伦敦"),
    ("意大利", "罗马"),
    ("西班牙", "马德里"),
    ("俄罗斯", "莫斯科"),
    ("埃及", "开罗"),
    ("泰国", "曼谷"),
    ("韩国", "首尔"),
    ("加拿大", "渥太华"),
    ("希腊", "雅典"),
    ("印度", "新德里"),
];
const COLOURS: [(&str, &str); 10] = [
    ("天空", "蓝色"),
    ("草", "绿色"),
    ("雪", "白色"),
    ("香蕉", "黄色"),
    ("煤", "黑色"),
    ("苹果", "红色"),
    ("大海", "蓝色"),
    ("太阳", "金色"),
    ("牛奶", "白色"),
    ("叶子", "绿色"),
];
const OPPOSITES: [(&str, &str); 12] = [
    ("大", "小"),
    ("高", "低"),
    ("快", "慢"),
    ("冷", "热"),
    ("多", "少"),
    ("长", "短"),
    ("新", "旧"),
    ("远", "近"),
    ("早", "晚"),
    ("黑", "白"),
    ("上", "下"),
    ("里", "外"),
];
const NUMBERS: [&str; 21] = [
    "零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三", "十四", "十五",
    "十六", "十七", "十八", "十九", "二十",
];

pub(super) fn story(r: &mut Random) -> String {
    let (name, friend, animal) = (r.pick(&NAMES), r.pick(&NAMES), r.pick(&ANIMALS));
    let (place, thing) = (r.pick(&PLACES), r.pick(&THINGS));
    let weather = r.pick(&["晴朗", "下雨", "刮风", "下雪", "暖和", "凉快"]);
    let time = r.pick(&["有一天", "星期天", "早上", "晚上", "春天", "冬天", "放学以后"]);
    let start = match r.below(4) {
        0 => format!("从前，{name}住在{place}旁边。"),
        1 => format!("{name}有一只{animal}，他们天天在一起。"),
        2 => format!("{time}，天气{weather}，{name}去了{place}。"),
        _ => format!("{name}是一个善良的孩子，喜欢{animal}。"),
    };
    let middle = match r.below(4) {
        0 => format!(
            "他的{thing}不见了，他很着急。{friend}说：“别担心，我们一起找。”最后，{animal}在{place}找到了{thing}。"
        ),
        1 => format!("他看见一只{animal}回不了家。“你能帮帮我吗？”{animal}问。{name}点点头，把它送回了家。"),
        2 => format!("{friend}带来了一个{thing}。“我们一起玩吧！”{friend}说。他们在{place}玩了一整天。"),
        _ => format!(
            "忽然，他听见一个声音。他有点害怕，可是还是走过去看。原来是一只{animal}，嘴里叼着{thing}！"
        ),
    };
    let end = r.pick(&[
        "大家都很高兴。",
        "从此他们成了好朋友。",
        "那天晚上，他睡得很香。",
        "他明白了，帮助别人是快乐的。",
        "太阳下山了，他们回家了。",
    ]);
    format!("{start}{middle}{end}")
}

fn topic(r: &mut Random) -> Vec<String> {
    let (q, a): (String, String) = match r.below(12) {
        0 => (
            r.pick(&["你好！", "你好", "您好！", "早上好！", "嗨！", "晚上好！"]).into(),
            r.pick(&["你好！很高兴见到你。", "你好！你今天怎么样？", "你好！我们聊什么呢？"]).into(),
        ),
        1 => (
            r.pick(&[
                "你是谁？",
                "你叫什么名字？",
                "请问你是谁？",
                "你的名字是什么？",
                "介绍一下你自己。",
                "我该怎么叫你？",
            ])
            .into(),
            r.pick(&["我是 pupil，一个小小的语言模型。", "我叫 pupil，是在这台电脑上学会说话的小模型。"])
                .into(),
        ),
        2 => (
            r.pick(&["你好吗？", "你今天怎么样？", "最近好吗？", "你还好吗？"]).into(),
            r.pick(&["我很好，谢谢！你呢？", "很好，谢谢你的关心。"]).into(),
        ),
        3 => {
            let (country, city) = COUNTRIES[r.below(COUNTRIES.len())];
            let q = r
                .pick(&["{}的首都是哪里？", "{}的首都是什么？", "你知道{}的首都吗？", "请告诉我{}的首都。"])
                .replace("{}", country);
            (q, format!("{country}的首都是{city}。"))
        }
        4 => {
            let (thing, colour) = COLOURS[r.below(COLOURS.len())];
            let q =
                r.pick(&["{}是什么颜色？", "{}是什么颜色的？", "你知道{}的颜色吗？"]).replace("{}", thing);
            (q, format!("{thing}是{colour}的。"))
        }
        5 => {
            let (x, y) = (r.below(11), r.below(11));
            let q = r.pick(&["{}加[]等于几？", "{}加[]是多少？", "{}和[]加起来是多少？"]);
            let q = q.replace("{}", NUMBERS[x]).replace("[]", NUMBERS[y]);
            (q, format!("{}加{}等于{}。", NUMBERS[x], NUMBERS[y], NUMBERS[x + y]))
        }
        6 => {
            let (x, y) = OPPOSITES[r.below(OPPOSITES.len())];
            (
                r.pick(&["“{}”的反义词是什么？", "{}的反面是什么？"]).replace("{}", x),
                format!("“{x}”的反义词是“{y}”。"),
            )
        }
        7 => {
            let bad = r.pick(&["难过", "累", "无聊", "孤单", "生气"]);
            let q = r.pick(&["我很{}。", "我今天有点{}。", "我觉得{}。"]).replace("{}", bad);
            (
                q,
                r.pick(&[
                    "听到这个我很难过，你想聊聊吗？",
                    "希望你快点好起来。",
                    "别难过，要不要听一个故事？",
                ])
                .into(),
            )
        }
        8 => {
            let good = r.pick(&["高兴", "开心", "快乐"]);
            (
                r.pick(&["我很{}！", "我今天很{}。"]).replace("{}", good),
                r.pick(&["太好了！", "听你这么说，我也很高兴。"]).into(),
            )
        }
        9 => {
            (r.pick(&["给我讲个故事吧。", "讲一个故事。", "你会讲故事吗？", "我想听故事。"]).into(), story(r))
        }
        10 => {
            let animal = r.pick(&ANIMALS);
            (r.pick(&["你喜欢什么动物？", "你最喜欢哪种动物？"]).into(), format!("我最喜欢{animal}，你呢？"))
        }
        _ => (
            r.pick(&["你会做什么？", "你能预测彩票号码吗？", "明天会发生什么？", "你是人吗？"]).into(),
            r.pick(&["我只是一个小模型，会聊天、讲故事。", "我不知道，我只是一个小模型。"]).into(),
        ),
    };
    vec![q, a]
}

pub(super) fn chat(r: &mut Random) -> Vec<String> {
    let mut turns: Vec<String> = (0..1 + r.below(3)).flat_map(|_| topic(r)).collect();
    if r.chance(20) {
        turns.push(r.pick(&["谢谢！", "谢谢你。", "多谢！"]).into());
        turns.push(r.pick(&["不客气！", "不用谢。"]).into());
    }
    if r.chance(15) {
        turns.push(r.pick(&["再见！", "拜拜！", "我要走了。"]).into());
        turns.push(r.pick(&["再见！祝你愉快。", "再见，下次再聊！"]).into());
    }
    turns
}
