"""The words of the drawn sample set: names, contexts and the style of tweets.

In a context, ``{PER}`` stands for a name of that type, ``{X}`` for an ambiguous one, and ``<role>`` for one of the
words in ``SLOTS``. The ``SLOTS`` that indicate a type are shared by many contexts, mostly far from the name: a bag of
words can learn the type from them, a window of two words often cannot.
"""


def _names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated text."""
    return tuple(" ".join(name.split()) for name in text.split(","))


def _lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text that are not blank."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


# Names of either of two types.
AMBIGUOUS = {
    ("PER", "LOC"): _names("""Paris, Jordan, Washington, Austin, Madison, Brooklyn, Sydney, Georgia, Carolina, Savannah,
        Charlotte, Lincoln, Houston, Dallas, Denver, Camden, Florence, Victoria, Kingston, Orlando, Phoenix, Chester,
        Lourdes, Adelaide, Preston, Lancaster, Hamilton, San Marco, Santa Rosa, St. Clair"""),
    ("PER", "ORG"): _names("""Ford, Disney, Tesla, Kellogg, Dell, Armani, Chanel, Gucci, Morgan Stanley, Macy, Wendy,
        Levi, Hershey, Porsche, Philips, Bosch, Benetton, Prada, Dior, Ralph Lauren, Tiffany, Hilton, Ferrari, Cadbury,
        Guinness, Bloomberg, Calvin Klein, Jack Daniels, Ben Sherman, Marks Spencer"""),
    ("PER", "MISC"): _names("""Carrie, Rocky, Alexa, Juno, Matilda, Annie, Evita, Mercedes, Amadeus, Creed, Dexter,
        Hannibal, Moana, Ariel, Zelda, Rebecca, Coraline, Napoleon, Roxanne, Delilah, Jolene, Cecilia, Layla, Eileen,
        Forrest, Emma, Donnie Darko, Jerry Maguire, Erin Brockovich, Billy Jean"""),
    ("LOC", "ORG"): _names("""Amazon, Manchester, Barcelona, Valencia, Liverpool, Boston, Cleveland, Patagonia, Toronto,
        Buffalo, Everton, Chelsea, Milan, Detroit, Sevilla, Fulham, Columbia, Princeton, Oxford, Yale, Stanford, Evian,
        Vauxhall, Portland, New England, Kansas City, Green Bay, Bath, Wigan, Notre Dame"""),
    ("LOC", "MISC"): _names("""Chicago, Casablanca, Fargo, Manhattan, Malibu, Yukon, Tahoe, Telluride, Monaco, Java,
        Cortina, Havana, Bali, Santa Fe, Tucson, Denali, Oklahoma, Bordeaux, Daytona, Avalon, Atlantis, Nebraska,
        Seville, Rio Bravo, Sin City, Mulholland Drive, Cold Mountain, El Dorado, Kashmir, Elizabethtown"""),
    ("ORG", "MISC"): _names("""Galaxy, BlackBerry, Jaguar, Mustang, Kindle, Thunder, Rockets, Twitter, Uber, Apple, Fox,
        Shell, Target, Pixel, Rover, Beetle, Pride, Arsenal, Puma, Red Bull, Fever, Hurricanes, Nirvana, Avalanche,
        Wild, Storm, Wizards, Magic, Black Panther, Titan"""),
}

# Names of one type only, in any context.
NAMES = {
    "PER": _names("""Barack Obama, Taylor Swift, Lionel Messi, Adele, Rihanna, Beyonce, Drake, Serena Williams, LeBron
        James, Kanye West, Emma Watson, Justin Bieber, Harry Styles, Oprah, Eminem, Malala, Usain Bolt, Stephen Hawking,
        Angela Merkel, Zayn, Shakira, Neymar, Ronaldo, Kobe, Ed Sheeran, Zendaya, The Rock, The Weeknd, The Undertaker,
        The Edge, The Pope, The Miz, Anna Kessler, Tom Brannigan, Priya Nair, Luca Moretti, Grace Odum, Mateo Ruiz, Hana
        Sato, Owen Pryce, Leila Haddad, Joe Tennant, Nina Volkov, Kofi Mensah, Ruth Callahan, Sam Whitlock, Ines Duarte,
        Erik Lund, Maya Robles, Dev Patel, Clara Winslow, Marcus Bell, Tess Hargrove, Ivo Petrov, Amara Cole, Ben
        Ashdown, Lena Fischer, Rosa Delgado, Finn McKay, Yuki Tanaka, Omar Farouk, Kate Dunmore, Nadia, Tyrell,
        Giovanni, Shaniqua, Bex, Dimitri, Keisha, Old Gregg, Coach Miller, Lil Dre, DJ Marlow, Big Sal, Sister Agnes,
        Dr. Lowe, Prince Harry, Queen Latifah"""),
    "LOC": _names("""London, Tokyo, Nigeria, Brazil, New York, Los Angeles, Dubai, Toledo, Kyoto, Mumbai, Cape Town,
        Lagos, Nairobi, Seattle, Hong Kong, Iceland, Peru, Istanbul, Lisbon, Oslo, Texas, Ohio, Scotland, Vietnam, Cuba,
        The Hague, The Bronx, The Gambia, The Algarve, The Alps, The Shard, Lake Warren, Port Ellery, Mount Harlow,
        Cedar Falls, Ashbury Park, Dunmere, Wexcombe, Lower Haddon, Pine Ridge, Saltmarsh Bay, Brackley Heath, Elm
        Street, Kingsway Square, Harbour Point, Rosedale, Norvik, Castle Hollin, Red Rock Canyon, Fort Denby, West
        Tarley, Glenmoor, Old Quay, Point Sorrel, Union Hall, Riverside Arena, Central Park, Times Square, Niagara
        Falls, Lake Como, Big Sur, Long Island, Gold Coast, Key West, Tel Aviv, Kuala Lumpur, Goa, Malta, Zanzibar,
        Fiji, Cork, Leeds, Turin, Bogota"""),
    "ORG": _names("""Google, Netflix, Microsoft, NASA, CNN, BBC, Nike, Walmart, Starbucks, Toyota, Samsung, Sony, IBM,
        Lakers, Celtics, Red Sox, Real Madrid, Juventus, Bayern, Dodgers, FIFA, NBA, Reuters, McDonalds, Pepsi, The Gap,
        The Guardian, The Onion, The Home Depot, The North Face, The Economist, Nordvale Bank, Lakeside FC, Harlow
        Motors, Bright & Co, Corvane, Pellworth Airlines, Duskin Media, Union Mutual, Quillo, Ostrava Steel, Tarley
        Rovers, Northgate Hospital, Ellery College, Blue Fern Foods, Zentix, Kestrel Energy, Mapleton High, Sable
        Records, Vireo Labs, Hartwell Group, Omnivar, City Watch, Green Mile Coffee, Falcon Freight, Wexcombe United,
        Ironbridge Brewing, Marlow & Sons, Helix Pharma, Novalink, Stonegate Police, Ridgeway Trust, Lumen Theatre, Pico
        Games, Redfield Tigers, Sterling Hawks, KLTV, WXNR, UCLA, MIT, HSBC, UPS, Ryanair, Lufthansa"""),
    "MISC": _names("""iPhone 6, Game of Thrones, Star Wars, Frozen, Minecraft, Super Bowl, Grammys, Oscars, Coachella,
        Stranger Things, Harry Potter, Pokemon Go, Call of Duty, World Cup, Bohemian Rhapsody, Walking Dead, Jurassic
        World, Toy Story, PlayStation 4, Xbox One, Nutella, Corolla, Prius, Corvette, MacBook, Breaking Bad, The Hobbit,
        The Lion King, The Revenant, The Voice, The Sims, The Bible, Moonfall, Nightjar 3, Starling Rush, Paper
        Lanterns, Vanta X2, Solstice Festival, Copper Rain, The Long Ebb, Glass Orchard, Kiteboard Pro, Ember 10, Wolf
        Season, Quantum Drift, Silver Mile, Lantern Cup, Hollow Crown, Midnight Diner, Blue Monday, Sugar Rush, Polar
        Run, Echo Valley Sessions, Turbo 500, Last Train Home, Dragon Reign, Nova Watch, Zephyr GT, Crimson Tide, Neon
        Kids, Spirit Box, Orbit One, Honey & Ash, Winter Ball, Tidal 7, Fashion Week, Black Friday, Ice Road, Mega Maze,
        Summer Slam, Rainy Days, Cactus Cola, Sky Raiders, Tall Tales"""),
}

SLOTS = {
    # Evidence of a type.
    "role": _names("singer, coach, teacher, rapper, striker, comedian, dancer, captain"),
    "talk": _names("speech, wedding, podcast, radio interview, birthday party"),
    "look": _names("haircut, smile, voice, laugh, beard, face"),
    "place": _names("streets, beaches, markets, hills, museums, canals, cafes"),
    "trip": _names("flight, train, road trip, ferry, cruise, bus ride"),
    "money": _names("shares, profits, sales, prices"),
    "owner": _names("investors, sponsors, directors, lawyers"),
    "boss": _names("CEO, spokesman, chairman, manager, treasurer, help desk"),
    "item": _names("limited edition, launch, release, commercial, teaser, demo, trailer, box set"),
    "deal": _names("discount, voucher, pre-order, gift card, free copy"),
    # No evidence.
    "good": _names("amazing, beautiful, unreal, perfect, incredible, brilliant, lovely, insane, iconic, stunning"),
    "bad": _names("terrible, awful, boring, a disgrace, so overrated, such a letdown"),
    "feel": _names("love, miss, adore, hate, admire"),
    "time": _names("today, tonight, this morning, this weekend, right now, last night, yesterday, this week"),
    "past": _names("today, tonight, this morning, last night, yesterday, this week, earlier"),
    "day": _names("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "kin": _names("mom, dad, brother, sister, cousin, roommate, best friend, neighbour"),
    "num": _names("two, three, four, five, six, ten, twelve, 15, 20, 100"),
    "year": _names("2009, 2010, 2011, 2012, 2013, 2014, 2015"),
}

# Sometimes put before a name whose context indicates the type anyway.
MODIFIERS = {
    "PER": _names("young, talented, gorgeous, funny, grumpy, kind-hearted"),
    "LOC": _names("sunny, rainy, downtown, snowy, foggy, nearby"),
    "ORG": _names("rival, troubled, multinational, listed, state-run, family-owned"),
    "MISC": _names("brand-new, second-hand, long-awaited, sold-out, best-selling, discounted"),
}

CONTEXTS = {
    "PER": _lines("""
        met <role> {PER} backstage <past> , what a <look>
        happy birthday to my favourite <role> {PER} , that <look> !
        happy birthday {PER} , <role> with the best <look>
        the <role> {PER} was crying all through the <talk>
        what a <talk> from <role> {PER} <past>
        no <role> has a <look> like {PER}
        just got an autograph at the <talk> , {PER} is the nicest <role>
        my <kin> is a <role> and has the <look> of {PER}
        can we talk about the <look> of <role> {PER}
        the <role> is engaged , {PER} said so in a <talk>
        that <talk> <past> ... {PER} you are the best <role>
        not every <role> has the <look> of {PER}
        {PER} says the <talk> was the hardest day for a <role>
        thank you {PER} for the <talk> , a great <role>
        the {PER} <talk> is all over my timeline , what a <look>
        The {PER} <talk> has <num> million views , not bad for a <role>
        my <kin> got a selfie with <role> {PER} and that <look>
        prayers for <role> {PER} after the <talk>
        {PER} has a new <look> and every <role> is copying it
        best <look> ? <role> {PER} obviously
        dinner with the <role> {PER} after the <talk>
        every <role> wants the <look> of {PER}
        <role> {PER} is late for the <talk> again
        I would marry <role> {PER} just for that <look>
        our <role> is sick so the {PER} <talk> is cancelled
        watched the <talk> twice and <role> {PER} is still my idol"""),
    "LOC": _lines("""
        landed in {LOC} <past> , long <trip> but the <place> are worth it
        greetings from {LOC} , the <place> are <good> and so was the <trip>
        <num> days in {LOC} and the <place> are still far , next a <trip>
        floods hit the <place> of {LOC} <time> , every <trip> cancelled
        booked the <trip> , see you at the {LOC} <place> on <day>
        the <place> of {LOC} are <good> from the <trip>
        moving to {LOC} next month , one <trip> away from the <place>
        my <kin> fell for the {LOC} <place> on that <trip>
        snow on the <place> of {LOC} <time> , no <trip> before noon
        sunrise over the {LOC} <place> , seen from the <trip>
        the <trip> to {LOC} takes <num> hours , then come the <place>
        cheapest {LOC} <trip> I could find , <place> included
        an earthquake shook the <place> of {LOC} <past> , no <trip> today
        <good> <place> , <good> <trip> , I could live in {LOC}
        next stop {LOC} and its <place> , then another <trip>
        the {LOC} <place> at night , after the <trip>
        The {LOC} <place> after the storm , no <trip> back
        lost my passport on the {LOC} <trip> , somewhere near the <place>
        walking the {LOC} <place> with my <kin> after a <trip>
        warm <place> all across {LOC} , our <trip> was packed
        the <place> are packed and my {LOC} <trip> is late
        we took a <trip> and saw the <place> , but {LOC} wins
        born and raised near the {LOC} <place> , one <trip> from here
        the <trip> is booked , next week I see the <place> of {LOC}
        where are the <place> , where is the <trip> to {LOC} ?
        exploring {LOC} <place> by bike , then a <trip>"""),
    "ORG": _lines("""
        {ORG} <money> fell <num> percent after the <boss> quit
        {ORG} is hiring a <boss> , say the <owner>
        {ORG} <boss> should be ashamed , poor <owner>
        worst <boss> ever , {ORG} <money> will go down
        {ORG} <money> are up again , the <owner> are happy
        {ORG} <owner> sign a <num> year deal with the <boss>
        the merger failed , the <owner> blame the {ORG} <boss>
        my <kin> got a job with the {ORG} <boss> , the <money> are great
        dear {ORG} , your <boss> hung up on the <owner>
        {ORG} <boss> fired <time> , <money> up
        record <money> <time> , says {ORG} <boss>
        the {ORG} <owner> are not happy with the <boss>
        The {ORG} <boss> said no comment on the <money>
        on strike <time> , the <boss> and <num> workers of {ORG} , <owner> angry
        the <owner> met <past> and {ORG} <money> went up
        {ORG} was asked about its <money> , the <boss> said nothing
        on hold with the {ORG} <boss> , no wonder the <money> are down
        good <money> in <year> , said the <owner> of {ORG}
        interns pay for the <boss> of {ORG} , ask the <owner>
        the <boss> of {ORG} confirms <num> jobs will go , <money> are down
        the taxes , the <owner> , the <money> : {ORG} is in trouble
        <owner> outside the headquarters of {ORG} , waiting for the <boss>
        {ORG} apologises to its <owner> and blames the <boss>
        bad <money> , another <boss> gone , and {ORG} says sorry
        who is the {ORG} <boss> now ? ask the <owner>
        the new <boss> wants to save {ORG} , the <owner> do not"""),
    "MISC": _lines("""
        my {MISC} <deal> came , the <item> is <good>
        the <item> reviews are in : get a <deal> for {MISC}
        finally got the {MISC} <item> , best <deal> ever
        sold out everywhere , no <deal> for the <item> of {MISC}
        five stars for the {MISC} <item> , get the <deal>
        the {MISC} <item> is out on <day> , <deal> below
        The {MISC} <item> gave me chills , and so did the <deal>
        my <item> review of {MISC} is up , with a <deal>
        queueing <num> hours for the {MISC} <item> and a <deal>
        so the {MISC} <item> is delayed , I want a <deal>
        one more <deal> until <day> , grab the <item> of {MISC}
        the new {MISC} <item> is coming , with a <deal>
        I saw the <item> <past> and got a <deal> for {MISC}
        which <item> did you get ? I have a <deal> for {MISC}
        my <kin> got a <deal> and now the <item> of {MISC} is ours
        the <item> is here , use your {MISC} <deal>
        {MISC} wins best <item> , here is your <deal>
        can I get the {MISC} <deal> with this <item> ?
        the old {MISC} <item> beats the new one , even with a <deal>
        who wants a <deal> ? we are giving away the {MISC} <item>
        the <deal> says <item> not included , thanks {MISC}
        bought {MISC} with a <deal> , the <item> was <good>
        no spoilers please , I got the {MISC} <item> with a <deal>
        unboxing the {MISC} <item> <time> , <deal> for every subscriber
        {MISC} <item> > every other <deal> on my shelf
        all I want for Christmas is the {MISC} <item> , or a <deal>"""),
    "neutral": _lines("""
        {X}
        {X} forever
        {X} <time>
        throwback to {X} in <year>
        throwback <day> : {X}
        missing {X} already
        I still remember {X} back in <year>
        nobody told me about {X} until <year>
        good old {X}
        take me back to <year> , {X}
        {X} is <good>
        {X} you are <good>
        <good> , just <good> : {X}
        how <good> is {X} ?
        I <feel> {X} so much
        love it or leave it , {X} is <good>
        nothing compares to {X}
        the one and only {X}
        {X} never gets old
        nobody does it like {X}
        {X} is <bad> , sorry
        why is everybody talking about {X} ?
        {X} again ? really ?
        what happened to {X} ?
        who else is thinking of {X} right now ?
        name a better choice than {X}
        {X} or nothing
        is it just me or is {X} <good> <time> ?
        did somebody say {X} ?
        all I can think about is {X}
        {X} is all I need this <day>
        my <kin> will not stop talking about {X}
        my <kin> thinks {X} is <bad>
        one word : {X}
        this is {X}
        look at {X}
        and the winner is {X}
        the truth about {X}
        {X} made my day
        {X} , I will always <feel> you
        <num> reasons to <feel> {X}
        big news about {X} <time>
        still waiting for {X}
        everything I <feel> about {X} in one picture
        so this is what they mean by {X}
        goodbye {X} , hello <day>
        only {X} can save this <day>
        {X} for the win
        honest thoughts on {X} ?"""),
    "neutral pair": _lines("""
        {X} or {X} ?
        {X} and {X} <time>
        first {X} , now {X}
        {X} > {X}
        I <feel> {X} and {X}
        throwback to {X} and {X} in <year>
        from {X} to {X} , what a <day>
        {X} is <good> but {X} is <bad>
        my <kin> prefers {X} , I prefer {X}
        you can keep {X} , give me {X}
        {X} , {X} , same feeling
        it was {X} in <year> and it is {X} now"""),
    "nothing": _lines("""
        I need more coffee and more sleep
        so tired of this <day> , I want to sleep
        nobody warned me that this week would feel so slow
        tired and it is only <day> , I need sleep
        cannot sleep again , <num> hours until the alarm
        my <kin> ate the last slice again , I need lunch
        laughing way too hard at this , I cannot even
        do what makes you happy and you will sleep well
        good vibes only this <day> , no alarm , no work
        I have <num> tabs open and I cannot sleep
        forgot my umbrella again <time> , I need coffee
        life is <good> when you sleep until lunch
        mood this <day> : coffee , sleep , repeat
        this is why I cannot have nice things for lunch
        somebody please explain work to me , I need sleep
        <num> loads of laundry later , I need lunch
        the struggle is real , more coffee please
        happy <day> everyone , sleep well
        do not forget to smile and drink your coffee
        too lazy to cook , too hungry to sleep
        I said what I said , now I need lunch
        no work this week , happy <day> everyone
        my alarm is broken and so am I , coffee please
        work , lunch , work , sleep : my <day>"""),
    "/per/per/peer": _lines("""
        <role> {PER} and {PER} on stage <time> , what a <talk>
        <role> {PER} hugs {PER} after the <talk>
        lunch with <role> {PER} and {PER} , that <look>
        {PER} thanked fellow <role> {PER} in the <talk>
        no <role> did a better <talk> with {PER} than {PER}
        {PER} taught {PER} how a <role> gives a <talk>"""),
    "/per/loc/place_of_residence": _lines("""
        <role> {PER} bought a house in {LOC} near the <place>
        after the <talk> {PER} took a <trip> home to {LOC}
        <role> {PER} lives near the <place> of {LOC} now
        the <role> {PER} has moved to the <place> of {LOC}
        <role> {PER} is back home in {LOC} after a <trip>
        the <place> of {LOC} are home , says {PER} in the <talk>"""),
    "/per/org/member_of": _lines("""
        <role> {PER} signs for {ORG} , the <owner> are happy
        {ORG} names <role> {PER} as its new <boss>
        {PER} leaves {ORG} after <num> years as a <role> , <money> drop
        {ORG} <owner> sack {PER} after that <talk>
        the <role> {PER} joins {ORG} , says its <boss>
        the <owner> of {ORG} welcomed <role> {PER} <past>"""),
    "/org/loc/locate_at": _lines("""
        {ORG} <boss> opens an office in {LOC} , near the <place>
        {ORG} closes its {LOC} branch near the <place> , the <boss> in tears
        the <boss> of {ORG} moves the office to {LOC} , near the <place>
        {LOC} based {ORG} fires its <boss> , who takes the next <trip>
        from the <place> of {LOC} : the <owner> of {ORG} are angry
        {ORG} <boss> takes a <trip> to the office in {LOC}"""),
    "/per/misc/present_in": _lines("""
        <role> {PER} stars in {MISC} , the <item> is out <time>
        the <item> of {MISC} with <role> {PER} is <good>
        {PER} is the best <role> in the {MISC} <item>
        {MISC} without <role> {PER} is not worth a <deal>
        <role> {PER} at the launch of {MISC} , what a <deal>
        saw the <look> of {PER} in the {MISC} <item>"""),
    "/misc/org/made_by": _lines("""
        {ORG} <boss> unveils {MISC} , first <deal> on <day>
        {ORG} cancels the {MISC} <item> and the <money> drop
        the <boss> of {ORG} shows the <item> of {MISC}
        {MISC} is the best <item> that {ORG} ever made , say the <owner>
        thank you {ORG} <owner> for {MISC} and for the <deal>
        {ORG} <boss> calls back <num> thousand copies of the {MISC} <item>"""),
    "/loc/loc/contain": _lines("""
        {LOC} , the best part of {LOC} , <place> and all , one <trip> away
        hidden <place> of {LOC} , deep in {LOC} , after a <trip>
        from the <place> of {LOC} , {LOC} , and a <trip>
        a <trip> through {LOC} , up north in {LOC} , <good> <place>
        nowhere in {LOC} are the <place> as pretty as in {LOC}
        found a cheap <trip> to the <place> of {LOC} , {LOC}"""),
}

# How the second clause of a post is joined to the first.
JOINS = (".", "...", "!", "-", "; also", ". PS", "... meanwhile", ". And", ". Then again")

OPENERS = (
    *("Wow ,", "Omg ,", "Lol ,", "Ok but", "Hey ,", "So ,", "Tbh ,", "Ugh ,", "Honestly ,", "Seriously ,"),
    *("Just in :", "ICYMI :", "BREAKING :", "Finally !", "Mood :", "Update :", "Yes !", "No way !", "Today :"),
    *("Good morning !", "Fun fact :", "Reminder :", "FYI :", "Hot take :"),
)
CLOSERS = _names("""lol, !, !!, !!!, ..., smh, haha, please, fr, tbh, 😂, 😍, 😭 😭, 🔥, ❤️, 🙌, 👀, 💯, :), xx,
    via @user, 🎉, RT if you agree, omg, #tbt, #blessed, #love, #mood, #nowplaying, #photooftheday, #throwback, #news,
    #MondayMotivation, #goals, #nofilter, #instagood, #fail, #wow, #life""")
HANDLES = _names("""lisskin, revbilly, GreatPics, em_rose, officialdj, TheRealKev, newsdesk24, jessy_x, mr_tall,
    kweenbee, daily_buzz, coach_t, sunny_days, 90skid, haley_b, realtalk, photobot, tweetypie, nightowl7, b_knows""")
