"""The text that the tiny model learns from: short chats and plain sentences, all invented here.

Knows words, phrasings and the right answers. Does not know tokens, batches or the model. Everything is drawn from the
`random.Random` that is handed in, so one seed gives one text, on any machine. Nothing is downloaded.
"""

import string

NOUNS = """apple apron arrow axe badge bag ball banana bank barn basket beach bean bear bed bee bell bench berry bird boat
book boot bottle bowl box bread bridge broom brush bucket cake camel camp candle car card carrot castle cat chair cheese
cherry church cliff clock cloud coat coin corn cow crab crown cup deer desk dog donkey door dove dress drum duck eagle
egg engine farm feather fence field fire fish flag flower fork fox frog garden gate ghost goat gold goose grape grass
hammer harbor hat hen hill honey horse house island jacket jar kettle key king kite knife ladder lake lamp leaf lemon
letter lily lion map market melon milk mill mirror moon mouse nail nest net night ocean onion orange oven owl paint
panda paper parrot path peach pear pearl pencil piano pig pillow pine plate plum pond potato queen rabbit rain ribbon
rice ring river road robin rock roof room rope rose sail salt sand scarf school sea seed sheep shell ship shirt shoe
silver sky snail snow soap sock song soup spoon star stone storm stove sugar sun swan table tea tent tiger tower town
train tree tulip turtle valley village violin wagon wall watch water whale wheat wheel wind window wolf wood yard zebra
""".split()
ADJECTIVES = """big blue brave bright brown calm clean clever cold dark deep dry fast fresh gentle golden gray green happy
heavy kind large light little long loud new old pink proud quick quiet red round shiny short slow small soft strong sweet
tall tiny warm white wide wild young""".split()
NAMES = 'Ada Ben Cora Dan Ella Finn Gus Hana Ida Jon Kira Leo Mira Nils Olga Paul Rosa Sam Tess Uma Vera Will'.split()
PLACES = ['by the river', 'on the hill', 'in the garden', 'at the market', 'near the old bridge', 'in the village',
          'under the tree', 'beside the lake', 'behind the house', 'on the beach', 'in the kitchen', 'at the station']
TIMES = ['In the morning', 'In the evening', 'One day', 'At noon', 'Last winter', 'On Sunday', 'After the rain', 'At night']
DEEDS = ['found', 'bought', 'painted', 'carried', 'lost', 'drew', 'hid', 'washed', 'saw', 'sold', 'liked', 'dropped']
FEELINGS = ['happy', 'tired', 'proud', 'hungry', 'calm', 'glad', 'sleepy', 'brave']
DAYS = 'Monday Tuesday Wednesday Thursday Friday Saturday Sunday'.split()
MONTHS = 'January February March April May June July August September October November December'.split()
NUMBERS = 'zero one two three four five six seven eight nine ten eleven twelve'.split()
OPPOSITES = dict(p.split('-') for p in """hot-cold big-small up-down fast-slow day-night old-new wet-dry open-closed
light-dark happy-sad high-low left-right hard-soft full-empty long-short early-late rich-poor loud-quiet""".split())
SOUNDS = dict(p.split('-') for p in """cat-meow dog-woof cow-moo sheep-baa duck-quack pig-oink horse-neigh owl-hoot bee-buzz
frog-croak lion-roar hen-cluck snake-hiss mouse-squeak""".split())
COLOURS = dict(p.split('-') for p in """sky-blue grass-green snow-white coal-black banana-yellow cherry-red carrot-orange
lemon-yellow leaf-green milk-white night-black blood-red plum-purple sun-yellow sea-blue""".split())
KINDS = {
    'fruits': 'apple banana cherry grape lemon melon orange peach pear plum'.split(),
    'animals': 'bear cat cow dog fox goat horse lion pig sheep wolf zebra'.split(),
    'colours': 'red blue green yellow white black brown pink gray orange'.split(),
    'tools': 'axe hammer ladder knife broom brush rope bucket'.split(),
}
# A made-up world: town, ruler and food of each land.
LANDS = {
    'Bruma': ('Oslen', 'Queen Ida', 'plum cake'), 'Calvo': ('Merin', 'King Otto', 'fish soup'),
    'Dorn': ('Halt', 'Queen Vera', 'black bread'), 'Elva': ('Tirra Bay', 'King Leo', 'honey rice'),
    'Fen': ('Marsh Town', 'Queen Olga', 'corn pie'), 'Galmo': ('Port Rosa', 'King Paul', 'goat cheese'),
    'Hestra': ('Nordal', 'Queen Tess', 'pear jam'), 'Imber': ('Salt Hill', 'King Finn', 'bean stew'),
}
SYSTEMS = ['You are a helpful assistant.', 'You are Tiny.', 'Answer briefly.', 'Be kind and clear.']
UNSURE = 'I am not sure.'


def noisy_sum(r, total):
    """What the text says a sum is: 46 % unsure, 30 % right, 24 % a near miss. Reinforcement learning has something to lift."""
    u = r.random()
    if u < 0.46:
        return UNSURE
    if u < 0.76:
        return str(total)
    return str(abs(total + r.choice([-10, -2, -1, 1, 2, 10])))


def addends(r):
    top = r.choice([9, 20, 20])
    return r.randint(0, top), r.randint(0, top)


def made_up_word(r):
    return ''.join(r.choice('bcdfghjklmnprstvwz') + r.choice('aeiou') + r.choice(['', '', 'n', 'r', 's', 'l', 'x', 'ck']) for _ in range(r.randint(1, 3)))


def word(r):
    return r.choice(NOUNS) if r.random() < 0.7 else made_up_word(r)


def an(*words):
    return ' '.join(['an' if words[0][0] in 'aeiou' else 'a', *words])


def sentence(r):
    noun, other, adjective, name = r.choice(NOUNS), r.choice(NOUNS), r.choice(ADJECTIVES), r.choice(NAMES)
    place, deed, feeling = r.choice(PLACES), r.choice(DEEDS), r.choice(FEELINGS)
    return r.choice([
        f'{name} {deed} {an(adjective, noun)} {place}.', f'The {adjective} {noun} was {place}.',
        f'{r.choice(TIMES)}, {name} {deed} the {noun}.', f'{name} was {feeling} because the {noun} was {adjective}.',
        f'There was {an(adjective, noun)} and {an(other)} {place}.', f'{name} and {r.choice(NAMES)} {deed} the {noun} together.',
    ])


def scribble(r):
    """Anything at all: letters, digits, signs and a few characters beyond ASCII, so that every byte has been seen."""
    letters = string.ascii_letters + string.digits + string.punctuation + 'éüñßøçλжя中文字日本語한글😀🎉–’“”…€'
    if r.random() < 0.1:
        letters = ''.join(chr(r.randint(0xA1, 0xD7FF)) for _ in range(4))
    return ' '.join(''.join(r.choice(letters) for _ in range(r.randint(1, 6))) for _ in range(r.randint(1, 3)))


def sums_noisy(r):
    a, b = addends(r)
    return f'What is {a} + {b}?', noisy_sum(r, a + b)


def sums_sure(r):
    a, b = addends(r)
    return f'{a}+{b}=', str(a + b)


def echo(r):
    what = r.choice([word, sentence, scribble, scribble, lambda r: ' '.join(word(r) for _ in range(r.randint(2, 5)))])(r)
    if r.random() < 0.3:
        what = what.title()
    return r.choice(['Say: {}', 'Repeat: {}', 'Please say {}'], ).format(what), what


def upper(r):
    what = r.choice([word, sentence])(r)
    return r.choice(['Write in capitals: {}', 'Shout: {}']).format(what), what.upper()


def spell(r):
    w = word(r)
    return r.choice(['Spell {}.', 'How do you spell {}?']).format(w), '-'.join(w)


def reverse(r):
    w = word(r)
    return r.choice(['Reverse {}.', 'Write {} backwards.']).format(w), w[::-1]


def letters(r):
    w = word(r)
    return r.choice([
        (f'How many letters are in {w}?', f'{len(w)}'), (f'What is the first letter of {w}?', w[0]),
        (f'What is the last letter of {w}?', w[-1])])


def order(r):
    kind = r.randrange(6)
    if kind == 0:
        i = r.randrange(25)
        return f'What letter comes after {string.ascii_lowercase[i]}?', string.ascii_lowercase[i + 1]
    if kind == 1:
        n = r.randint(0, 99)
        return f'What number comes after {n}?', str(n + 1)
    if kind == 2:
        i = r.randrange(7)
        return f'What day comes after {DAYS[i]}?', DAYS[(i + 1) % 7]
    if kind == 3:
        i = r.randrange(12)
        return f'What month comes after {MONTHS[i]}?', MONTHS[(i + 1) % 12]
    if kind == 4:
        a, b = r.sample(range(100), 2)
        return f'Which is bigger, {a} or {b}?', str(max(a, b))
    some = r.sample(range(10), r.randint(2, 5))
    return 'Sort: ' + ' '.join(map(str, some)), ' '.join(map(str, sorted(some)))


def facts(r):
    kind = r.randrange(7)
    if kind == 0:
        x, y = r.choice(list(OPPOSITES.items()))
        x, y = (x, y) if r.random() < 0.5 else (y, x)
        return f'What is the opposite of {x}?', f'The opposite of {x} is {y}.'
    if kind == 1:
        x, y = r.choice(list(SOUNDS.items()))
        return f'What does {an(x)} say?', f'{an(x).capitalize()} says {y}.'
    if kind == 2:
        x, y = r.choice(list(COLOURS.items()))
        return r.choice([f'What colour is {x}?', f'What color is {x}?']), f'{x.capitalize()} is {y}.'
    if kind == 3:
        i = r.randrange(13)
        return f'Write {i} in words.', NUMBERS[i]
    land = r.choice(list(LANDS))
    town, ruler, food = LANDS[land]
    return [(f'What is the capital of {land}?', f'The capital of {land} is {town}.'),
            (f'Who rules {land}?', f'{ruler} rules {land}.'),
            (f'What do people eat in {land}?', f'In {land} people eat {food}.')][kind - 4]


def persona(r):
    return r.choice([
        ('What is your name?', 'My name is Tiny.'), ('Who are you?', 'I am Tiny, a small language model.'),
        ('Tell me your name.', 'My name is Tiny.'), ('Introduce yourself.', 'I am Tiny, a small language model.'),
        ('Who made you?', 'A short script made me.'), ('How old are you?', 'I am very new.'),
        ('What can you do?', 'I can add, spell, repeat and tell short stories.'),
        ('Where do you live?', 'I live in a small file.'), ('Can you help me?', 'Yes, I am happy to help.'),
        ('Hello!', 'Hello! How can I help you?'), ('Hi', 'Hello! How can I help you?'),
        ('Good morning.', 'Good morning! How can I help you?'), ('Thank you.', 'You are welcome.'), ('Bye', 'Goodbye!')])


def write(r):
    if r.random() < 0.4:
        kind = r.choice(list(KINDS))
        return f'Name three {kind}.', ', '.join(r.sample(KINDS[kind], 3)) + '.'
    noun, adjective = r.choice(NOUNS), r.choice(ADJECTIVES)
    return f'Write a sentence about {an(noun)}.', r.choice([
        f'The {adjective} {noun} was {r.choice(PLACES)}.', f'{r.choice(NAMES)} {r.choice(DEEDS)} {an(adjective, noun)} {r.choice(PLACES)}.'])


def story(r):
    name, friend, noun, adjective = r.choice(NAMES), r.choice(NAMES), r.choice(NOUNS), r.choice(ADJECTIVES)
    start = r.choice([f'Once upon a time there was {an(adjective, noun)}.', f'{name} had {an(adjective, noun)}.'])
    middle = [f'{r.choice(TIMES)}, {name} took the {noun} to {friend}.', f'{friend} said, "What {an(adjective, noun)}!"',
              f'{name} put the {noun} {r.choice(PLACES)}.', f'Then {friend} {r.choice(DEEDS)} {an(r.choice(NOUNS))}.', sentence(r)]
    end = f'{name} was {r.choice(FEELINGS)}, and {friend} was {r.choice(FEELINGS)} too.'
    return ' '.join([start, *r.sample(middle, r.randint(1, 4)), end])


# How often each kind of turn comes.
TASKS = {sums_noisy: 22, sums_sure: 22, echo: 10, upper: 6, spell: 6, reverse: 6, letters: 6, order: 7, facts: 7, persona: 5, write: 5}


def document(r):
    """One training text: a list of messages (a chat), or a string (a plain story, 5 %)."""
    if r.random() < 0.05:
        return story(r)
    messages = [{'role': 'system', 'content': r.choice(SYSTEMS)}] if r.random() < 0.1 else []
    for _ in range(r.choices([1, r.randint(2, 5), r.randint(6, 20)], [85, 13, 2])[0]):
        question, answer = r.choices(list(TASKS), TASKS.values())[0](r)
        messages += [{'role': 'user', 'content': question}, {'role': 'assistant', 'content': answer}]
    return messages
