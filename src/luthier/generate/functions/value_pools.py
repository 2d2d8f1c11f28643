"""Common values of text parameters, selected by words in a parameter's name or description.

They serve generation without a teacher. Alternatives are separated by `|`; names of people are invented.
"""

from luthier.language import Language

# (words, values): the first row applies that has a word of the parameter's name or description.
POOLS: dict[Language, tuple[tuple[str, str], ...]] = {
    "zh": (
        ("部门|dept", "市场部|财务部|研发部|人事部|行政部|采购部|客服部|法务部|生产部|物流部"),
        ("职位|岗位|position", "销售经理|会计|软件工程师|招聘专员|前台|采购员|客服主管|法务顾问|车间主任|产品经理"),
        ("原因|理由|事由|reason", "发烧感冒|家里有急事|参加婚礼|陪孩子看病|搬家|参加考试|回老家办事|腰疼复查|办理签证"),
        ("城市|city", "北京|上海|广州|成都|杭州|西安|武汉|南京|青岛|昆明"),
        ("日期|date", "2027-03-08|2027-04-15|2027-05-20|2027-06-30|2027-09-01|2027-11-11"),
        ("时间|time", "08:30|09:00|10:15|14:00|16:45|19:30"),
        ("邮箱|email", "lihua@example.com|wangfang@example.com|chenjie@example.com"),
        ("电话|手机|phone", "13800000001|13900000002|13700000003|13600000004"),
        ("地址|address", "人民路 18 号|中山北路 206 号|解放街 7 号|科技园 3 栋|滨江大道 55 号"),
        ("股票|stock", "贵州茅台|比亚迪|招商银行|宁德时代|中国平安|恒瑞医药"),
        ("银行|bank", "工商银行|建设银行|农业银行|招商银行|交通银行"),
        ("商品|产品|物品|item|product", "台灯|雨伞|键盘|保温杯|书架|耳机|双肩包|咖啡豆"),
        ("标题|主题|title|subject", "季度总结|新品发布|部门例会|培训安排|客户回访"),
        ("姓名|名字|员工|联系人|人名|name", "张伟|王芳|李娜|刘洋|陈静|杨帆|赵敏|吴昊|徐丽|孙涛|马超|朱琳|胡斌|郭雪"),
    ),
    "en": (
        ("department|dept", "marketing|finance|research|legal|logistics|support|purchasing"),
        ("position|job title", "accountant|sales manager|engineer|recruiter|designer|analyst"),
        ("reason", "a cold|a family matter|a wedding|a medical check-up|moving house|an exam"),
        ("city|location|place", "London|Paris|Madrid|Toronto|Oslo|Lisbon|Vienna|Dublin"),
        ("date", "2027-03-08|2027-04-15|2027-05-20|2027-06-30|2027-09-01|2027-11-11"),
        ("genre", "jazz|folk|classical|rock|ambient|soul"),
        ("label|purpose", "pasta|eggs|laundry|tea|bread|a nap"),
        ("list", "shopping|packing|reading|birthday|hardware"),
        ("email", "anna@example.com|ben@example.com|carol@example.com"),
        ("phone", "555-0101|555-0102|555-0103|555-0104"),
        ("address", "18 Mill Road|206 North Street|7 Harbour Lane|55 River Walk"),
        ("item|product", "milk|batteries|sunscreen|a notebook|an umbrella|light bulbs|coffee"),
        ("title|subject|topic", "quarterly review|product launch|team meeting|training plan"),
        ("name|person|contact|recipient", "Anna Reed|Ben Clarke|Carol Young|David Hill|Emma Stone|Frank Moore"),
        ("time", "08:30|09:00|10:15|14:00|16:45|19:30"),
    ),
}
