//! 中文：简单的故事。Chinese stories, simpler than the English ones.

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

/// A child, a place, a thing and an animal.
pub(super) fn draw(r: &mut Random) -> (&'static str, &'static str, &'static str, &'static str) {
    (r.pick(&NAMES), r.pick(&PLACES), r.pick(&THINGS), r.pick(&ANIMALS))
}
