%%% @doc The stores that mesh content comes from: whether `content_stores' is good. No store has a
%%% password in its url: where content needs one, the host is named in `git_auth_hosts'.
-module(bc_gitops_config_content).

-export([stores/1]).

-export_type([store/0]).

-type store() ::
    {dir, Path :: binary()}
    | {http, Url :: binary()}
    | {node, node()}
    | nodes.                      % every node that is connected

-define(EXPECTED, <<"a list of directories, http or https urls without user and password, "
                    "{node, Node}, and the atom nodes for all that are connected">>).
-define(URL, "\\A([a-z][a-z0-9+.-]*)://(.*)\\z").
-define(NODE, "\\A[^@[:space:][:cntrl:]]{1,100}@[^@[:space:][:cntrl:]]{1,150}\\z").

%% @doc The value of `content_stores' in the order in which they are asked.
-spec stores(term()) -> {ok, [store()]} | {error, Expected :: binary()}.
stores(Given) when is_list(Given) ->
    try {ok, [store(One) || One <- Given]}
    catch throw:bad_store -> {error, ?EXPECTED}
    end;
stores(_Given) ->
    {error, ?EXPECTED}.

store(nodes) -> nodes;
store({node, Node}) -> {node, node_name(Node)};
store(Given) -> place(text(Given)).

place(Text) ->
    case re:run(Text, ?URL, [caseless, {capture, all_but_first, binary}]) of
        {match, [Scheme, Rest]} -> url(string:lowercase(Scheme), Rest, Text);
        nomatch -> {dir, unicode:characters_to_binary(filename:absname(Text))}
    end.

url(<<"file">>, <<"/", _/binary>> = Path, _Text) -> {dir, Path};
url(Scheme, Rest, Text) when Scheme =:= <<"http">>; Scheme =:= <<"https">> ->
    [Host | _] = binary:split(Rest, <<"/">>),
    case binary:match(Host, <<"@">>) =:= nomatch andalso is_url(Text) of
        true -> {http, string:trim(Text, trailing, "/")};
        false -> throw(bad_store)
    end;
url(_Scheme, _Rest, _Text) -> throw(bad_store).

%% What follows is a content id, so that a query or a fragment has no place.
is_url(Text) ->
    case uri_string:parse(Text) of
        #{host := <<_, _/binary>>} = Url ->
            not (is_map_key(query, Url) orelse is_map_key(fragment, Url));
        _ -> false
    end.

%% An atom is made of what the host's own configuration says.
node_name(Node) ->
    Name = case Node of
        _ when is_atom(Node) -> atom_to_binary(Node);
        _ -> text(Node)
    end,
    case re:run(Name, ?NODE, [{capture, none}]) of
        match -> binary_to_atom(Name);
        nomatch -> throw(bad_store)
    end.

text(Given) when is_atom(Given), not is_boolean(Given) ->
    text(atom_to_binary(Given));
text([_ | _] = Given) ->
    try text(unicode:characters_to_binary(Given)) catch error:_ -> throw(bad_store) end;
text(<<_, _/binary>> = Text) ->
    case unicode:characters_to_list(Text) of
        Characters when is_list(Characters) -> visible(Text, Characters);
        _ -> throw(bad_store)
    end;
text(_Given) ->
    throw(bad_store).

visible(Text, Characters) ->
    case lists:all(fun(Character) -> Character >= $\s andalso Character =/= 127 end, Characters) of
        true -> Text;
        false -> throw(bad_store)
    end.
