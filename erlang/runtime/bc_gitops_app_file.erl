%%% @doc Reads .app files and answers what an application needs to start.
-module(bc_gitops_app_file).

-export([read/2, value/3, needs/1, includes/1, start_order/2]).

-export_type([description/0]).

-type description() :: {application, atom(), [{atom(), term()}]}.

%% @doc The term of the .app file of App in the application directory Dir.
-spec read(file:filename_all(), atom()) -> {ok, description()} | {error, {Kind :: atom(), map()}}.
read(Dir, App) ->
    File = filename:join([Dir, "ebin", atom_to_list(App) ++ ".app"]),
    case file:consult(File) of
        {ok, [{application, App, Keys}]} when is_list(Keys) -> {ok, {application, App, Keys}};
        {ok, _} -> {error, {bad_app_file, #{app => App, file => File}}};
        {error, Reason} -> {error, {bad_app_file, #{app => App, file => File, reason => Reason}}}
    end.

-spec value(atom(), description(), Default) -> term() | Default.
value(Key, {application, _, Keys}, Default) ->
    proplists:get_value(Key, Keys, Default).

%% @doc `{Required, Optional}' applications that must run before this one.
-spec needs(description()) -> {[atom()], [atom()]}.
needs(Description) ->
    Optional = value(optional_applications, Description, []),
    {value(applications, Description, []) -- Optional, Optional}.

-spec includes(description()) -> [atom()].
includes(Description) ->
    value(included_applications, Description, []).

%% @doc Which of the applications App needs at run time, directly or through others, in the order
%% in which they start; App is the last. Applications that are not among Descriptions are left to
%% the host. Those that are only included are loaded and started by the one that includes them.
-spec start_order(atom(), #{atom() => description()}) -> [atom()].
start_order(App, Descriptions) ->
    {Order, _Seen} = visit(App, Descriptions, {[], #{}}),
    lists:reverse(Order).

visit(App, Descriptions, {Order, Seen}) ->
    case Descriptions of
        #{App := Description} when not is_map_key(App, Seen) ->
            {Required, Optional} = needs(Description),
            Included = lists:append([all_needs(I, Descriptions) || I <- includes(Description)]),
            {Order1, Seen1} = lists:foldl(
                fun(Need, Acc) -> visit(Need, Descriptions, Acc) end,
                {Order, Seen#{App => true}},
                Required ++ Optional ++ Included
            ),
            {[App | Order1], Seen1};
        _ ->
            {Order, Seen}
    end.

%% What an included application needs must run before the one that includes it.
all_needs(App, Descriptions) ->
    case Descriptions of
        #{App := Description} ->
            {Required, Optional} = needs(Description),
            Required ++ Optional;
        _ ->
            []
    end.
