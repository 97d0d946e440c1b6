"""What Redis does in one step on its own side: Lua, sent with every call, compiled there once.

The first line has Redis refuse a script that may write before it begins, rather than half-way, when there is no memory,
disk or replica for it. Every script gets the prefix of all keys as ``KEYS[1]``. Its keys, behind the prefix:

- hashes by item_id: ``records`` (JSON), ``words_of`` (words of the title, a line end, words of the text; each after a
  space), ``category_of`` (of available items), ``neighbours`` and ``recent_users`` (version, then JSON);
- hashes by name: ``popular`` and ``serving`` (version, then JSON), ``rules``, ``categories`` (available items in each);
- sorted sets of item_ids by number: ``numbers`` (all), ``available``, ``category:<category>``;
- sorted sets for the text search: ``word:<word>`` (available item_ids by weight), ``lexicon`` (all words);
- ``last_number``, and ``epoch``: the newest epoch that wrote. A version is 20 digits, so that text compares as numbers.
"""

from __future__ import annotations

from stores.item_words import TEXT_WEIGHT, TITLE_WEIGHT

# Of the words that begin as a search ends, and of the items to check, so many are looked at. More words than that fill
# every answer; where more items have even the rarest word of a search, the best of them are looked at.
MAX_COMPLETIONS = 1000
MAX_CANDIDATES = 3000

_UNLIST = """
local p = KEYS[1]
local function unlist(id)
    for word in string.gmatch(redis.call('HGET', p .. 'words_of', id) or '', '[^ \\n]+') do
        redis.call('ZREM', p .. 'word:' .. word, id)
        if redis.call('EXISTS', p .. 'word:' .. word) == 0 then redis.call('ZREM', p .. 'lexicon', word) end
    end
    redis.call('HDEL', p .. 'words_of', id)
    redis.call('ZREM', p .. 'available', id)
    local category = redis.call('HGET', p .. 'category_of', id)
    if category then
        redis.call('HDEL', p .. 'category_of', id)
        redis.call('ZREM', p .. 'category:' .. category, id)
        if redis.call('HINCRBY', p .. 'categories', category, -1) == 0 then
            redis.call('HDEL', p .. 'categories', category)
        end
    end
end
"""

# ARGV: one MessagePack array per item: item_id, record, available, category or false, words, weight by word.
PUT_ITEMS = (
    "#!lua\n"
    + _UNLIST
    + """
for _, packed in ipairs(ARGV) do
    local id, record, available, category, words, weights = unpack(cmsgpack.unpack(packed))
    if redis.call('HGET', p .. 'records', id) ~= record then
        unlist(id)
        redis.call('HSET', p .. 'records', id, record)
        local number = redis.call('ZSCORE', p .. 'numbers', id)
        if not number then
            number = redis.call('INCR', p .. 'last_number')
            redis.call('ZADD', p .. 'numbers', number, id)
        end
        if available then
            redis.call('ZADD', p .. 'available', number, id)
            if category then
                redis.call('HSET', p .. 'category_of', id, category)
                redis.call('ZADD', p .. 'category:' .. category, number, id)
                redis.call('HINCRBY', p .. 'categories', category, 1)
            end
            redis.call('HSET', p .. 'words_of', id, words)
            for word, weight in pairs(weights) do
                redis.call('ZADD', p .. 'word:' .. word, weight, id)
                redis.call('ZADD', p .. 'lexicon', 0, word)
            end
        end
    end
end
"""
)

# ARGV: item_ids.
DELETE_ITEMS = (
    "#!lua flags=allow-oom\n"
    + _UNLIST
    + """
for _, id in ipairs(ARGV) do
    unlist(id)
    redis.call('ZREM', p .. 'numbers', id)
    for _, of_items in ipairs({'records', 'neighbours', 'recent_users'}) do redis.call('HDEL', p .. of_items, id) end
end
"""
)

# ARGV: epoch and version, 20 digits each; the hash; then name and value in turn. Returns the newer epoch when this one
# is stale, 0 when there was none. A write of an older version than what stands under the name changes nothing.
PUT_VERSIONED = """#!lua
local p, epoch, version, hash = KEYS[1], ARGV[1], ARGV[2], KEYS[1] .. ARGV[3]
local seen = redis.call('GET', p .. 'epoch')
if seen and epoch < seen then return seen end
if epoch ~= seen then redis.call('SET', p .. 'epoch', epoch) end
for at = 4, #ARGV, 2 do
    local held = redis.call('HGET', hash, ARGV[at])
    if not held or string.sub(held, 1, 20) <= version then
        redis.call('HSET', hash, ARGV[at], version .. ARGV[at + 1])
    end
end
return not seen and 0
"""

# ARGV: the sorted set; lowest and highest number; REV or nothing; limit. Returns number and record in turn.
LIST_ITEMS = """#!lua flags=no-writes
local p, command = KEYS[1], {'ZRANGE', KEYS[1] .. ARGV[1], ARGV[2], ARGV[3], 'BYSCORE'}
if ARGV[4] ~= '' then command[#command + 1] = ARGV[4] end
for _, word in ipairs({'LIMIT', 0, ARGV[5], 'WITHSCORES'}) do command[#command + 1] = word end
local listed, answer = redis.call(unpack(command)), {}
for at = 1, #listed, 2 do
    answer[#answer + 1] = listed[at + 1]
    answer[#answer + 1] = redis.call('HGET', p .. 'records', listed[at])
end
return answer
"""

# ARGV: limit; the last word, of which the beginning is given; the other words. Returns records, best first.
# It begins with the rarest of these, all completions together counting as one where they are few, and checks the rest.
SEARCH_TEXT = f"""#!lua flags=no-writes
local p, limit, last = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local first, after = '[' .. last, '(' .. last .. '\\255'
local completions = redis.call('ZRANGE', p .. 'lexicon', first, after, 'BYLEX', 'LIMIT', 0, {MAX_COMPLETIONS})
local ids, scores = {{}}, {{}}
local function take(word, most)
    local best = redis.call('ZRANGE', p .. 'word:' .. word, 0, most - 1, 'REV', 'WITHSCORES')
    for at = 1, #best, 2 do
        local id, score = best[at], tonumber(best[at + 1])
        if not scores[id] then ids[#ids + 1] = id end
        if not scores[id] or scores[id] < score then scores[id] = score end
    end
end

local start, fewest = 0, 0
for _, word in ipairs(completions) do fewest = fewest + redis.call('ZCARD', p .. 'word:' .. word) end
if #completions == {MAX_COMPLETIONS} or fewest > {MAX_CANDIDATES} then fewest = math.huge end
for at = 3, #ARGV do
    local items = redis.call('ZCARD', p .. 'word:' .. ARGV[at])
    if items < fewest then start, fewest = at, items end
end
if start > 0 then
    take(ARGV[start], {MAX_CANDIDATES})
else
    for _, word in ipairs(completions) do
        if #ids == {MAX_CANDIDATES} then break end
        take(word, math.min({MAX_CANDIDATES} - #ids, #ARGV == 2 and limit or {MAX_CANDIDATES}))
    end
end
if #ids == 0 then return {{}} end
for at = 3, #ARGV do
    if at ~= start then
        for nth, score in ipairs(redis.call('ZMSCORE', p .. 'word:' .. ARGV[at], unpack(ids))) do
            scores[ids[nth]] = score and scores[ids[nth]] and scores[ids[nth]] + tonumber(score)
        end
    end
end
if start > 0 then
    for nth, words in ipairs(redis.call('HMGET', p .. 'words_of', unpack(ids))) do
        local place = words and string.find(words, ' ' .. last, 1, true)
        local in_title = place and place < string.find(words, '\\n', 1, true)
        local score = place and scores[ids[nth]]
        scores[ids[nth]] = score and score + (in_title and {TITLE_WEIGHT} or {TEXT_WEIGHT})
    end
end

local found = {{}}
for _, id in ipairs(ids) do
    if scores[id] then found[#found + 1] = id end
end
table.sort(found, function(one, other)
    if scores[one] == scores[other] then return one < other end
    return scores[one] > scores[other]
end)
local records = {{}}
for nth = 1, math.min(limit, #found) do records[nth] = redis.call('HGET', p .. 'records', found[nth]) end
return records
"""
